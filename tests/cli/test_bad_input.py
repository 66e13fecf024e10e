"""What a sceptical user tries: every bad input is one clear line, the right exit code, and nothing half-written."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import SMALL, TINY, Outcome
from tests.realdata import real_data

Command = Callable[..., Outcome]


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# ---------------------------------------------------------------------------------------------------------- pretrain


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("empty", ["no video found, saw nothing", "give folders"]),
        ("texts", ["saw 2 other files"]),
        ("texts/a.md", ["a.md: not a readable video"]),
        ("mask.png", ["saw 1 single images"]),
        ("one.mp4", ["one.mp4: 1 frame in the video, a pair needs 2", "--exclude"]),
        ("absent", ["no such file or folder"]),
    ],
)
def test_nothing_to_train_on(kinema: Command, inputs: Path, tmp_path: Path, data: str, words: list[str]) -> None:
    done = kinema("pretrain", "siammae_smoke", "--data", inputs / data, "--out", tmp_path / "run", *TINY[:-2])
    done.require_error(3, *words)
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
        (["--method.mask-ratio", 1.5], ["mask ratio 1.5"]),
        (["--method.mask-ratio", "nan"], ["mask ratio nan"]),
        (["--method.mask-ratio", 0.99], ["leaves none of 16 tokens visible"]),
        (["--method.mask-ratio", 0], ["hides nothing"]),
        (["--method.past-mask-ratio", -1], ["mask ratio -1.0"]),
        (["--method.encoder.num-heads", 0], ["num_heads of 0"]),
        (["--method.encoder.depth", -1], ["depth of -1"]),
        (["--method.encoder.patch-size", 0], ["patch_size of 0"]),
        (["--method.decoder.num-heads", 0], ["num_heads of 0"]),
        (["--method.encoder.image-size", 65], ["use 64"]),
        (["--data.max-unreadable-share", 2], ["--data.max-unreadable-share"]),
        (["--data.transform.scale", 2, 3], ["crop scale"]),
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


def test_cuda_where_there_is_none(kinema: Command, inputs: Path, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    mask, weights = inputs / "mask.png", inputs / "weights"
    commands = [
        ("pretrain", "siammae_smoke", "--data", inputs / "clips"),
        ("propagate", inputs / "video.mp4", "--labels", mask, "--weights", weights),
        ("benchmark", "davis", "--root", inputs / "davis", "--weights", weights),
    ]
    for command in commands:
        kinema(*command, "--out", tmp_path / "out", "--device", "cuda").require_error(2, "no device 'cuda'")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pretrain", "siammae_smok", "--data", "x"], "did you mean 'siammae_smoke'?"),
        (["pretrain"], "no recipe named"),
        (["pretrain", "--data", "x"], "no recipe named"),
        (["recipes", "siammae_vits17"], "did you mean 'siammae_vits1"),
        (["pretrian", "siammae_smoke"], "did you mean 'pretrain'?"),
        (["propagate", "v.mp4", "--protocol", "dino_480"], "did you mean 'dino_480p'?"),
        (["benchmark", "davis", "--protocol=dino_480"], "did you mean 'dino_480p'?"),
    ],
)
def test_names_that_do_not_exist(kinema: Command, words: list[str], said: str) -> None:
    kinema(*words).require_error(2, said)


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["pretrain", "siammae_smoke", "--data", "x", "--out", "y", "--train.stpes", "3"], "--train.steps"),
        (["propagate", "v", "--labels", "l", "--weights", "w", "--out", "o", "--propagaton.top-k", "3"], "top-k"),
        (["synth", "--out", "o", "--clip", "3"], "--clips"),
        (["score", "davis", "--root", "r", "--result", "p"], "--results"),
        (["benchmark", "davis", "--root", "r", "--weights", "w", "--out", "o", "--sequence", "a"], "--sequences"),
    ],
)
def test_misspelt_options(kinema: Command, words: list[str], meant: str) -> None:
    kinema(*words).require_usage_error("nrecognized options", meant)


def test_training_that_diverges_says_where(kinema: Command, inputs: Path, tmp_path: Path) -> None:
    options = [*TINY, "--train.base-lr", 1e12, "--train.steps", 30, "--train.warmup-steps", 0]
    done = kinema("pretrain", "siammae_smoke", "--data", inputs / "clips", "--out", tmp_path / "run", *options)
    done.require_error(5, "at step", "clip-000", "--train.base-lr")


# ----------------------------------------------------------------------------------------------------- the run folder


@pytest.mark.parametrize("out", ["file", "file/run", "file/deeper/run"])
def test_a_file_in_the_way_of_the_output(kinema: Command, inputs: Path, out: str) -> None:
    mask, weights = inputs / "mask.png", inputs / "weights"
    commands = [
        ("pretrain", "siammae_smoke", "--data", inputs / "clips", *TINY),
        ("propagate", inputs / "video.mp4", "--labels", mask, "--weights", weights),
        ("benchmark", "davis", "--root", inputs / "davis", "--weights", weights),
        ("synth", "--clips", 1, "--num-frames", 1),
    ]
    for command in commands:
        kinema(*command, "--out", inputs / out).require_error(2, str(inputs / out))
    assert (inputs / "file").read_text() == "in the way\n"


def test_an_output_folder_that_is_not_empty(kinema: Command, inputs: Path) -> None:
    mask, weights, out = inputs / "mask.png", inputs / "weights", inputs / "not_empty"
    commands = [
        ("pretrain", "siammae_smoke", "--data", inputs / "clips", *TINY),
        ("pretrain", "siammae_smoke", "--data", inputs / "clips", *TINY, "--fresh"),
        ("propagate", inputs / "video.mp4", "--labels", mask, "--weights", weights),
        ("benchmark", "davis", "--root", inputs / "davis", "--weights", weights),
        ("synth", "--clips", 1, "--num-frames", 1),
    ]
    for command in commands:
        kinema(*command, "--out", out).require_error(2, "not empty")
    assert _files(out) == ["thing"]


# ---------------------------------------------------------------------------------------------------------- propagate


def _propagate(kinema: Command, inputs: Path, out: Path, **changes: object) -> Outcome:
    given = {"video": "video.mp4", "labels": "mask.png", "weights": inputs / "weights"} | changes
    video, labels = inputs / str(given.pop("video")), inputs / str(given.pop("labels"))
    options = [part for name, value in given.items() for part in (f"--{name}", value)]
    return kinema("propagate", video, "--labels", labels, "--out", out, *SMALL, *options)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": "wrong_size.png"}, ["the mask is 40x40 pixels, the frame 80x48 (frame 0)"]),
        ({"labels": "wrong_size.png", "frame": 3}, ["(frame 3)"]),
        ({"labels": "no_object.png"}, ["no object (frame 0)", "id from 1 to 255"]),
        ({"labels": "no_object.png", "frame": 3}, ["no object (frame 3)"]),
        ({"labels": "colours.png"}, ["mode RGB", "palette or 8-bit grey"]),
        ({"labels": "mask.jpg"}, ["not a readable mask"]),
        ({"labels": "video.mp4"}, ["not a readable mask"]),
        ({"labels": "absent.png"}, ["no such labels"]),
        ({"labels": "texts"}, ["no PNG at all"]),
        ({"labels": "clips/clip-0000"}, ["no PNG at all"]),
        ({"frame": 6}, ["frames [6]", "it has frames 0 to 5"]),
        ({"frame": -1}, ["frames [-1]", "it has frames 0 to 5"]),
        ({"video": "absent.mp4"}, ["no such video"]),
        ({"video": "texts/a.md"}, ["not a readable video"]),
        ({"video": "empty"}, ["no images in the folder"]),
    ],
)
def test_videos_and_masks_that_do_not_fit(
    kinema: Command, inputs: Path, tmp_path: Path, changes: dict[str, object], words: list[str]
) -> None:
    _propagate(kinema, inputs, tmp_path / "out", **changes).require_error(3, *words)
    assert not (tmp_path / "out").exists()


def test_a_late_mask_of_the_wrong_size_is_found_before_the_work(kinema: Command, inputs: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels"
    labels.mkdir()
    shutil.copy(inputs / "mask.png", labels / "00000.png")
    shutil.copy(inputs / "wrong_size.png", labels / "00005.png")
    done = _propagate(kinema, inputs, tmp_path / "out", labels=labels)
    done.require_error(3, "(frame 5)")
    assert "propagating" not in done.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"features.layer": 3}, ["layer 3 of an encoder of 2 blocks", "use 1 to 2"]),
        ({"features.size.short-side": 50}, ["does not divide into patches of 16"]),
        ({"features.size.short-side": 0}, ["a size of 0 pixels"]),
        ({"features.size.short-side": 1000000}, ["a size of 1000000 pixels"]),
        ({"features.size.multiple": 0}, ["a size of 0 pixels"]),
        ({"features.size.long-side": 64}, ["not exactly one size"]),
        ({"propagation.top-k": 0}, ["top_k cannot be 0"]),
    ],
)
def test_features_that_cannot_be_read(
    kinema: Command, inputs: Path, tmp_path: Path, options: dict[str, object], words: list[str]
) -> None:
    _propagate(kinema, inputs, tmp_path / "out", **options).require_error(2, *words)
    assert not (tmp_path / "out").exists()


def test_a_video_of_one_frame_gets_its_mask(kinema: Command, inputs: Path, tmp_path: Path) -> None:
    done = _propagate(kinema, inputs, tmp_path / "out", video="one.mp4")
    assert done.code == 0, done.err
    assert _files(tmp_path / "out") == ["masks", "masks/00000.png", "overlay.mp4"]


@pytest.mark.parametrize("name", ["bad_video_sample.mp4", "playable_but_bad_container.mkv"])
def test_videos_that_look_bad_but_decode(kinema: Command, inputs: Path, tmp_path: Path, name: str) -> None:
    from kinema.video.reader import open_video
    from kinema.video.writer import write_mask
    from tests.pipeline.small import square

    path = real_data("videos", "odd") / name
    with open_video(path) as video:
        write_mask(tmp_path / "mask.png", square(size=(video.height, video.width)))
        count = video.num_frames
    options = ["--out", tmp_path / "out", "--results-only", *SMALL]
    done = kinema("propagate", path, "--labels", tmp_path / "mask.png", "--weights", "pixels:16", *options)
    assert done.code == 0, done.err
    assert len(list((tmp_path / "out" / "masks").iterdir())) == count


@pytest.mark.parametrize(
    "name", ["pixels:0", "pixels:x", "untrained:huge/16", "untrained:tiny/0", "untrained:tiny/16@-1"]
)
def test_baselines_that_do_not_exist(kinema: Command, inputs: Path, tmp_path: Path, name: str) -> None:
    _propagate(kinema, inputs, tmp_path / "out", weights=name).require_error(4, name.split(":")[1])


def test_weights_that_cannot_be_used(kinema: Command, inputs: Path, tmp_path: Path) -> None:
    bad = tmp_path / "weights.pth"
    bad.write_bytes(b"PK\x03\x04 anything")
    commands = [
        ("pretrain", "siammae_smoke", "--data", inputs / "clips", *TINY, "--init-from"),
        ("propagate", inputs / "video.mp4", "--labels", inputs / "mask.png", "--weights"),
        ("benchmark", "davis", "--root", inputs / "davis", "--weights"),
    ]
    for command in commands:
        kinema(*command, bad, "--out", tmp_path / "out").require_error(4, str(bad))
    assert not (tmp_path / "out").exists()


def test_starting_from_weights_of_another_size(kinema: Command, inputs: Path, tmp_path: Path) -> None:
    options = [*TINY, "--init-from", inputs / "weights", "--method.encoder.width", 96]
    done = kinema("pretrain", "siammae_smoke", "--data", inputs / "clips", "--out", tmp_path / "run", *options)
    done.require_error(4, "do not fit the recipe's encoder", "of the same size")
    assert not (tmp_path / "run").exists()


# ------------------------------------------------------------------------------------------------ benchmark and score


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--root", "texts"], 3, ["not a DAVIS root", "texts"]),
        (["--root", "absent"], 3, ["not a DAVIS root"]),
        (["--set", "test-dev"], 3, ["no ImageSets/2017/test-dev.txt"]),
        (["--sequences", "clip-0004"], 2, ["no sequence 'clip-0004' in val", "did you mean 'clip-0003'?"]),
        (["--features.layer", "7"], 2, ["use 1 to 2"]),
        (["--weights", "absent"], 4, ["no such file or folder"]),
    ],
)
def test_benchmarks_that_cannot_run(
    kinema: Command,
    inputs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    code: int,
    words: list[str],
) -> None:
    monkeypatch.chdir(inputs)
    given = ["--root", "davis", "--weights", "weights", *SMALL, *options]
    kinema("benchmark", "davis", "--out", tmp_path / "out", *given).require_error(code, *words)
    assert not (tmp_path / "out").exists()


def test_a_sequence_that_cannot_be_scored_is_found_before_the_work(
    kinema: Command, inputs: Path, tmp_path: Path
) -> None:
    shutil.copytree(inputs / "davis", tmp_path / "davis")
    masks = tmp_path / "davis" / "Annotations" / "480p" / "clip-0003"
    shutil.copy(inputs / "no_object.png", masks / "00000.png")
    options = ["--weights", inputs / "weights", "--out", tmp_path / "out", *SMALL]
    done = kinema("benchmark", "davis", "--root", tmp_path / "davis", *options)
    done.require_error(3, "no object", str(masks / "00000.png"))
    assert "propagating" not in done.err
    assert not (tmp_path / "out").exists()


def test_score_of_absent_predictions(kinema: Command, inputs: Path, tmp_path: Path) -> None:
    done = kinema("score", "davis", "--root", inputs / "davis", "--results", tmp_path)
    done.require_error(3, "no prediction", "clip-0003/00001.png")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--clips", 0], "clips is 0"),
        (["--seed", -1], "seed is -1"),
        (["--layouts", "davsi"], "did you mean davis?"),
        (["--num-frames", 0], "num_frames is 0"),
        (["--height", 10], "height is 10"),
    ],
)
def test_sets_that_cannot_be_rendered(kinema: Command, tmp_path: Path, options: list[object], said: str) -> None:
    kinema("synth", "--out", tmp_path / "out", *options).require_error(2, said)
    assert _files(tmp_path) == []


# --------------------------------------------------------------------------------------------------------- a full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small disk is not permitted here")
    try:
        yield disk
    finally:
        # lazily: after a full disk FFmpeg keeps its file open until the container is collected
        subprocess.run(["umount", "--lazy", disk], check=True, capture_output=True)


def _leave(disk: Path, free_kib: int) -> None:
    (disk / "other").write_bytes(bytes(1024 * (1024 - free_kib)))


@pytest.mark.parametrize("free_kib", [0, 4, 12, 100, 1000])
def test_pretrain_on_a_full_disk(kinema: Command, inputs: Path, small_disk: Path, free_kib: int) -> None:
    _leave(small_disk, free_kib)
    run = small_disk / "run"
    options = [*TINY, "--train.log-every-steps", 1, "--train.checkpoint-every-steps", 2]
    command = ("pretrain", "siammae_smoke", "--data", inputs / "clips", "--out", run, *options)
    kinema(*command).require_error(5, "the disk is full at step", "make room")
    left = [name for name in _files(small_disk) if "partial" in name or "beside" in name or name.endswith(".tmp")]
    assert left == []
    (small_disk / "other").unlink()
    subprocess.run(["mount", "-o", "remount,size=16m", small_disk], check=True)
    assert kinema(*command).code == 0
    assert (run / "encoder.safetensors").is_file()


@pytest.mark.parametrize("free_kib", [0, 24])
def test_propagate_on_a_full_disk(kinema: Command, inputs: Path, small_disk: Path, free_kib: int) -> None:
    _leave(small_disk, free_kib)
    _propagate(kinema, inputs, small_disk / "out").require_error(2, "No space left on device", "check space")
    assert _files(small_disk) == ["other"]


@pytest.mark.parametrize("free_kib", [0, 8, 20])
def test_benchmark_on_a_full_disk(kinema: Command, inputs: Path, small_disk: Path, free_kib: int) -> None:
    _leave(small_disk, free_kib)
    root, weights = inputs / "davis", inputs / "weights"
    done = kinema("benchmark", "davis", "--root", root, "--weights", weights, "--out", small_disk / "out", *SMALL)
    done.require_error(2, "No space left on device", "check space")
    assert [name for name in _files(small_disk) if "partial" in name or name.endswith(".json")] == []


def test_synth_on_a_full_disk(kinema: Command, small_disk: Path) -> None:
    done = kinema("synth", "--out", small_disk / "out", "--clips", 8, "--num-frames", 3)
    done.require_error(2, "No space left on device", "a disk with room")
    assert _files(small_disk) == []


def test_a_full_disk_without_one(
    kinema: Command, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from errno import ENOSPC

    def full(_path: Path, _content: bytes) -> None:
        raise OSError(ENOSPC, "No space left on device")

    command = ("pretrain", "siammae_smoke", "--data", inputs / "clips", "--out", tmp_path / "run", *TINY)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        kinema(*command).require_error(5, "the disk is full at step 3", "make room")
    assert kinema(*command).code == 0
