"""What a skeptical user tries on `pretrain`: one clear line, the right exit code, nothing half-written."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import TINY, Command
from tests.realdata import real_data


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("empty", ["no video found, saw nothing", "give folders"]),
        ("texts", ["saw 2 other files"]),
        ("texts/a.md", ["a.md: not a readable video"]),
        ("mask.png", ["saw 1 single image"]),
        ("one.mp4", ["one.mp4: 1 frame in the video, a pair needs 2", "--exclude"]),
        ("absent", ["no such file or folder"]),
    ],
)
def test_nothing_to_train_on(kinema: Command, inputs: Path, tmp_path: Path, data: str, words: list[str]) -> None:
    done = kinema("pretrain", "siammae_smoke", "--data", inputs / data, "--out", tmp_path / "run", *TINY[:-2])
    done.require_error(3, *words)
    assert not (tmp_path / "run").exists()


def test_a_batch_of_one_that_needs_negatives_leaves_nothing(kinema: Command, inputs: Path, tmp_path: Path) -> None:
    options = ["--train.batch-size", 4, "--train.accumulate", 4, "--data.repeats", 1]
    done = kinema("pretrain", "vicmae_smoke", "--data", inputs / "clips", "--out", tmp_path / "run", *options)
    done.require_error(2, "a batch of one has none", "--train.batch-size", "--train.accumulate")
    assert not (tmp_path / "run").exists()


def test_only_broken_files(kinema: Command, tmp_path: Path) -> None:
    broken = real_data("videos", "broken")
    kinema("pretrain", "siammae_smoke", "--data", broken, "--out", tmp_path / "run", *TINY).require_error(
        3, "files unreadable", "more than 1.0%", "skipped.jsonl", "exclude"
    )
    assert not (tmp_path / "run" / "encoder.safetensors").exists()


def test_broken_files_among_good_ones_stop_a_run_that_does_not_expect_them(
    kinema: Command, inputs: Path, tmp_path: Path
) -> None:
    sources = [real_data("videos", "broken"), inputs / "clips"]
    done = kinema("pretrain", "siammae_smoke", "--data", *sources, "--out", tmp_path / "run", *TINY)
    done.require_error(3, "of 10 files unreadable", "more than 1.0%")
    listed = [json.loads(line) for line in (tmp_path / "run" / "skipped.jsonl").read_text().splitlines()]
    assert {Path(row["path"]).parent for row in listed} == {sources[0]}
    assert all(row["reason"] and row["count"] >= 1 for row in listed)


def test_broken_files_are_skipped_counted_and_named(kinema: Command, inputs: Path, tmp_path: Path) -> None:
    broken = real_data("videos", "broken")
    run = tmp_path / "run"
    options = [*TINY, "--train.steps", 20, "--data.max-unreadable-share", 0.9]
    done = kinema("pretrain", "siammae_smoke", "--data", broken, inputs / "clips", "--out", run, *options)
    assert done.code == 0, done.err
    listed = [json.loads(line) for line in (run / "skipped.jsonl").read_text().splitlines()]
    named = {Path(row["path"]).name for row in listed}
    whole = {"empty.mp4", "flipped_bytes.mp4", "no_moov.mp4", "text_renamed.mp4", "truncated_half.mp4"}
    assert whole <= named <= {path.name for path in broken.iterdir()}
    last = done.err.splitlines()[-1]
    assert f"{len(named)} of 10 files unreadable" in last
    assert listed[0]["path"] in last


def test_odd_files_are_read(kinema: Command, tmp_path: Path) -> None:
    odd = real_data("videos", "odd")
    done = kinema("pretrain", "siammae_smoke", "--data", odd, "--out", tmp_path / "run", *TINY)
    assert done.code == 0, done.err
    assert "0 of 2 files unreadable" in done.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--train.batch-size", 7], ["7 clips", "--train.batch-size", "multiple of 2"]),
        (["--train.accumulate", 3], ["--train.accumulate", "divisor"]),
        (["--train.steps", 0], ["--train.steps"]),
        (["--train.epochs", 2], ["--train.epochs, --train.steps"]),
        (["--train.base-lr", "nan"], ["--train.base-lr"]),
        (["--device", "cuda:99"], ["no device 'cuda:99'", "use auto or cpu"]),
        (["--device", "quantum"], ["no device 'quantum'"]),
        (["--method.mask-ratio", 1.5], ["mask ratio 1.5", "(--method.mask-ratio)"]),
        (["--method.mask-ratio", "nan"], ["mask ratio nan", "(--method.mask-ratio)"]),
        (["--method.mask-ratio", 0.99], ["leaves none of 16 tokens visible"]),
        (["--method.mask-ratio", 0], ["hides nothing"]),
        (["--method.past-mask-ratio", -1], ["mask ratio -1.0"]),
        (["--method.encoder.num-heads", 0], ["num_heads of 0", "(--method.encoder.num-heads)"]),
        (["--method.encoder.depth", -1], ["depth of -1"]),
        (["--method.encoder.patch-size", 0], ["patch_size of 0"]),
        (["--method.decoder.num-heads", 0], ["num_heads of 0", "(--method.decoder.num-heads)"]),
        (["--method.encoder.num-heads", 3, "--method.decoder.num-heads=0"], ["(--method.decoder.num-heads)"]),
        (["--method.encoder.num-heads", 5, "--method.decoder.num-heads", 2], ["5 heads (--method.encoder.num-heads)"]),
        (["--method.encoder.width", 50, "--method.decoder.num-heads", 2], ["3 heads (num_heads)"]),
        (["--method.encoder.image-size", 65], ["use 64"]),
        (["--data.max-unreadable-share", 2], ["--data.max-unreadable-share"]),
        (["--data.transform.scale", 2, 3], ["crop scale", "(--data.transform.scale)"]),
        (["--held-out", "clips"], ["--train.evaluate-every-steps"]),
        (["--davis", "davis"], ["--train.evaluate-every-steps"]),
    ],
)
def test_settings_that_cannot_work(
    kinema: Command, inputs: Path, tmp_path: Path, options: list[object], words: list[str]
) -> None:
    out = tmp_path / "run"
    done = kinema("pretrain", "siammae_smoke", "--data", inputs / "clips", "--out", out, *TINY, *options)
    done.require_error(2, *words)
    assert not out.exists()


def test_training_that_diverges_says_where(kinema: Command, inputs: Path, tmp_path: Path) -> None:
    options = [*TINY, "--train.base-lr", 1e12, "--train.steps", 30, "--train.warmup-steps", 0]
    done = kinema("pretrain", "siammae_smoke", "--data", inputs / "clips", "--out", tmp_path / "run", *options)
    done.require_error(5, "at step", "clip-000", "--train.base-lr")


def test_starting_from_weights_of_another_size(kinema: Command, inputs: Path, tmp_path: Path) -> None:
    options = [*TINY, "--init-from", inputs / "weights", "--method.encoder.width", 96]
    done = kinema("pretrain", "siammae_smoke", "--data", inputs / "clips", "--out", tmp_path / "run", *options)
    done.require_error(4, "do not fit the recipe's encoder", "of the same size")
    assert not (tmp_path / "run").exists()
