"""Every command as it is meant to be used: its answer, its files, its `--json`."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kinema.cli.main import COMMANDS
from kinema.video.masks import read_mask
from kinema.video.reader import open_video
from tests.cli.conftest import IMAGENET_PIXELS, SMALL, TINY, Command, Outcome


@pytest.fixture
def run(kinema: Command, inputs: Path, tmp_path: Path) -> Callable[..., Outcome]:
    """`kinema pretrain siammae_smoke` on the small clips into `run`."""

    def pretrain(*options: object) -> Outcome:
        return kinema(
            "pretrain", "siammae_smoke", "--data", inputs / "clips", "--out", tmp_path / "run", *TINY, *options
        )

    return pretrain


def _settings(folder: Path) -> dict:
    return json.loads((folder / "recipe.json").read_text())["settings"]


# -------------------------------------------------------------------------------------------------------------- light


def test_what_must_start_quickly_imports_no_torch() -> None:
    helps = [[name, "--help"] for name in COMMANDS] + [["pretrain", "siammae_smoke", "--help"], ["--help"]]
    lines = [["recipes"], ["recipes", "siammae_vits16", "--json"], ["--version"], ["pretrain", "siammae_smok"], *helps]
    script = f"""
import contextlib, io, sys
from kinema.cli.main import main
for line in {lines}:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            main(line)
        except SystemExit:
            pass
    assert "torch" not in sys.modules, line
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_score_imports_no_torch(kinema: Command, inputs: Path, tmp_path: Path) -> None:
    masks = inputs / "davis" / "Annotations" / "480p"
    line = ["score", "davis", "--root", str(inputs / "davis"), "--results", str(masks), "--json"]
    script = f"import sys; from kinema.cli.main import main; main({line}); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["J&F-Mean"] == 1.0


def test_a_reader_that_stops_reading_is_no_fault(tmp_path: Path) -> None:
    command = f"{sys.executable} -m kinema recipes --json 2> {tmp_path / 'said'} | head -c 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("{")
    assert done.stdout[1:].strip() in ("0", "141")  # 0 where everything fitted into the pipe
    assert (tmp_path / "said").read_text() == ""


# ----------------------------------------------------------------------------------------------------------- pretrain


def test_a_run_and_the_same_command_again(run: Command, tmp_path: Path) -> None:
    first = run("--json")
    assert first.code == 0, first.err
    assert first.answer == {"out": str(tmp_path / "run"), "steps": 3, "interrupted": False, "done_before": False}
    files = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.*") if "tensorboard" not in str(path)}
    again = run("--json")
    assert (again.code, again.answer["done_before"]) == (0, True)
    assert {path: path.read_bytes() for path in files} == files
    said = run()
    assert "already finished" in said.out
    assert f"--weights {tmp_path / 'run'}" in said.out


def test_another_configuration_names_the_difference(run: Command, inputs: Path, tmp_path: Path) -> None:
    assert run().code == 0
    before = (tmp_path / "run" / "recipe.json").read_text()
    run("--train.seed", 3).require_error(2, "train.seed was 0, now 3", "--fresh")
    run("--method.mask-ratio", 0.5).require_error(2, "method.mask_ratio was 0.75, now 0.5")
    run("--data", inputs / "clips", inputs / "video.mp4").require_error(2, "files: 4 before, 5 now")
    assert (tmp_path / "run" / "recipe.json").read_text() == before
    assert run("--data.num-workers", 1, "--train.log-every-steps", 2).code == 0  # these change no weight


def test_fresh_starts_over(run: Command, tmp_path: Path) -> None:
    assert run("--train.checkpoint-every-steps", 1).code == 0
    weights = (tmp_path / "run" / "encoder.safetensors").read_bytes()
    other = run("--train.seed", 3, "--fresh", "--json")
    assert (other.code, other.answer["done_before"]) == (0, False)
    assert _settings(tmp_path / "run")["train"]["seed"] == 3
    assert (tmp_path / "run" / "encoder.safetensors").read_bytes() != weights
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [3]
    assert [path.name for path in (tmp_path / "run" / "checkpoints").glob("step-*")] == ["step-00000003"]


def test_a_run_starts_from_given_weights(run: Command, kinema: Command, inputs: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    options = ["--init-from", inputs / "weights", "--train.base-lr", 1e-12, "--train.weight-decay", 0]
    assert run(*options).code == 0
    given = load_file(inputs / "weights" / "encoder.safetensors")
    found = load_file(tmp_path / "run" / "encoder.safetensors")
    assert all(abs(found[name] - given[name]).max() < 1e-6 for name in given)
    run("--init-from", tmp_path, "--fresh").require_error(4, "encoder.safetensors")


def test_a_dry_run_says_what_it_would_take(kinema: Command, inputs: Path, tmp_path: Path) -> None:
    options = ("--data", inputs / "clips", "--out", tmp_path / "run", "--dry-run")
    said = kinema("pretrain", "siammae_smoke", *options).out
    for words in ("4 files; 20 steps, 2 of them warm-up", "0.2 M parameters", "GiB", "clips/s", '"mask_ratio": 0.75'):
        assert words in said
    kinema("pretrain", "siammae_smoke", *options, "--data", tmp_path).require_error(3, "no video found")


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--out", "{}/file"], 2, "a file is in the way of the run folder"),
        (["--out", "{}/clips"], 2, "holds no run"),
        (["--init-from", "{}/nowhere"], 4, "nowhere"),
        (["--davis", "{}/nowhere", "--train.evaluate-every-steps", "1"], 3, "nowhere"),
    ],
)
def test_a_dry_run_refuses_what_the_run_would_refuse(
    kinema: Command, inputs: Path, tmp_path: Path, options: list[str], code: int, said: str
) -> None:
    given = [option.format(inputs) for option in options]
    words = ("--data", inputs / "clips", "--out", tmp_path / "run", *given)
    dry = kinema("pretrain", "siammae_smoke", *words, "--dry-run")
    dry.require_error(code, said)
    assert dry.err.splitlines()[-1] == kinema("pretrain", "siammae_smoke", *words).err.splitlines()[-1]
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------------------------------------- propagate, benchmark


def _masks(folder: Path) -> np.ndarray:
    return np.stack([read_mask(path) for path in sorted(folder.iterdir())])


@pytest.mark.parametrize("frame", [0, 3])
def test_propagate(kinema: Command, inputs: Path, tmp_path: Path, frame: int) -> None:
    out = tmp_path / "out"
    given = (inputs / "video.mp4", "--labels", inputs / "mask.png", "--weights", inputs / "weights", "--out", out)
    done = kinema("propagate", *given, *SMALL, "--json", "--frame", frame)
    assert done.code == 0, done.err
    assert done.answer["frames"] == 6
    assert "features.size.short_side=48" in done.answer["protocol"]
    assert [path.name for path in sorted((out / "masks").iterdir())] == [f"{n:05d}.png" for n in range(6)]
    with Image.open(out / "masks" / "00000.png") as first:
        assert (first.mode, first.size) == ("P", (80, 48))
    assert np.array_equal(_masks(out / "masks")[frame], read_mask(inputs / "mask.png"))
    with open_video(out / "overlay.mp4") as overlay:
        assert (overlay.num_frames, overlay.fps) == (6, 10)


def test_propagate_a_folder_of_labels_without_video(kinema: Command, inputs: Path, tmp_path: Path) -> None:
    from kinema.video.masks import write_mask
    from tests.labeling.small import square

    labels = tmp_path / "labels"
    labels.mkdir()
    write_mask(labels / "00000.png", square(value=3))
    write_mask(labels / "00004.png", square(value=9, left=50))
    given = (inputs / "video.mp4", "--labels", labels, "--weights", "pixels:16", "--out", tmp_path / "out")
    done = kinema("propagate", *given, *SMALL, "--results-only")
    assert done.code == 0, done.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["masks", "quality.csv"]
    masks = _masks(tmp_path / "out" / "masks")
    assert set(np.unique(masks[:4])) == {0, 3}
    assert set(np.unique(masks[5])) == {0, 3, 9}
    options = ("--out", tmp_path / "other", "--frame", 2)
    kinema("propagate", *given[:-2], *options).require_error(2, "--frame is for a single PNG")


def test_benchmark_and_score_agree(kinema: Command, inputs: Path, tmp_path: Path) -> None:
    root, out = inputs / "davis", tmp_path / "out"
    weights = inputs / "weights"
    done = kinema("benchmark", "davis", "--root", root, "--weights", weights, "--out", out, *SMALL, "--json")
    assert done.code == 0, done.err
    scored = kinema("score", "davis", "--root", root, "--results", out, "--json").answer
    assert done.answer["rows"] == scored.pop("rows")
    assert done.answer["summary"] == scored
    truth = root / "Annotations" / "480p" / "clip-0003"
    assert sorted(path.name for path in out.iterdir()) == ["clip-0003", "pictures", "request.json", "result.json"]
    assert [path.name for path in sorted((out / "clip-0003").iterdir())] == [f"{n:05d}.png" for n in range(5)]
    assert np.array_equal(_masks(out / "clip-0003")[0], _masks(truth)[0])
    assert [(row["sequence"], row["object"]) for row in done.answer["rows"]] == [("clip-0003", 1), ("clip-0003", 2)]
    assert json.loads((out / "result.json").read_text()) == done.answer
    assert done.answer["protocol"]["name"].startswith("dino_480p features.size.short_side=48")
    assert done.answer["protocol"]["features"]["std"][0] == 0.228
    stored = json.loads((weights / "config.json").read_text())
    assert done.answer["weights"] == {"source": str(weights), "sha256": stored["sha256"], **IMAGENET_PIXELS}
    assert {"kinema", "torch", "numpy"} <= done.answer["versions"].keys()
    said = kinema("score", "davis", "--root", root, "--results", out).out
    assert f"J&F-Mean {100 * scored['J&F-Mean']:.1f}" in said


def test_benchmark_of_chosen_sequences(kinema: Command, inputs: Path, tmp_path: Path) -> None:
    options = ("--set", "train", "--sequences", "clip-0002", "clip-0000", "--protocol", "crw", *SMALL)
    given = ("--root", inputs / "davis", "--weights", "pixels:16", "--out", tmp_path / "out")
    done = kinema("benchmark", "davis", *given, *options, "--json")
    assert done.code == 0, done.err
    names = [row["sequence"] for row in done.answer["rows"]]
    assert list(dict.fromkeys(names)) == ["clip-0002", "clip-0000"]
    assert done.answer["protocol"]["propagation"]["padding"] == "first_frame"
    assert done.answer["weights"] == {"source": "pixels:16", "sha256": None, **IMAGENET_PIXELS}


# -------------------------------------------------------------------------------------------------------------- synth


def test_synth(kinema: Command, tmp_path: Path) -> None:
    options = ("--clips", 2, "--num-frames", 2, "--height", 32, "--width", 48, "--layouts", "davis", "--seed", 4)
    done = kinema("synth", "--out", tmp_path / "a", *options, "--json")
    assert done.code == 0, done.err
    assert (done.answer["train"], done.answer["val"], done.answer["seed"]) == (1, 1, 4)
    assert "1 training and 1 held-out clips" in kinema("synth", "--out", tmp_path / "b", *options).out
    pictures = [sorted((tmp_path / name).rglob("*.[jp][pn]g")) for name in "ab"]
    assert len(pictures[0]) == 8
    assert [path.read_bytes() for path in pictures[0]] == [path.read_bytes() for path in pictures[1]]
