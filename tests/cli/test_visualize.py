"""`kinema visualize` and `kinema report` as they are typed: answers, files, errors of one line."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from kinema.video.reader import open_video
from tests.cli.conftest import SMALL, TINY, Command, files_in


@pytest.fixture(scope="module")
def trained(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three steps."""
    from kinema.cli.main import main

    run = tmp_path_factory.mktemp("trained") / "run"
    options = ["--train.steps", "3", "--data.num-workers", "0", "--train.pictures-every-steps", "2", "--json"]
    assert main(["pretrain", "siammae_smoke", "--data", str(inputs / "clips"), "--out", str(run), *options]) == 0
    return run


@pytest.mark.parametrize("view", ["attention", "pca", "correspond"])
def test_views_of_a_run(kinema: Command, inputs: Path, trained: Path, tmp_path: Path, view: str) -> None:
    points = ("--points", 20, 20, 40, 30) if view == "correspond" else ()
    given = (inputs / "video.mp4", "--weights", trained, "--out", tmp_path / "look", *SMALL, *points)
    done = kinema("visualize", view, *given, "--json", "--start", 1, "--frames", 4, "--pictures", 2)
    assert done.code == 0, done.err
    assert files_in(tmp_path / "look") == [f"{view}.mp4", f"{view}.png"]
    assert done.answer["frames"] == 4
    assert done.answer["sizes"]["frame"] == [48, 80]
    assert done.answer["sizes"]["read"] == [48, 80]
    assert [network["sha256"] is None for network in done.answer["networks"]] == [False, True]
    if view == "attention":
        assert done.answer["asked"] == "class token"
    if view == "correspond":
        assert len(done.answer["matches"]) == 2 * 2 * 4
    with open_video(tmp_path / "look" / f"{view}.mp4") as film:
        assert film.num_frames == 4


def test_reconstruct_and_masks(kinema: Command, inputs: Path, trained: Path, tmp_path: Path) -> None:
    given = (inputs / "video.mp4", "--out", tmp_path, "--gap", 2, "--pictures", 3)
    done = kinema("visualize", "reconstruct", *given, "--weights", trained)
    assert done.code == 0, done.err
    assert "frames of 80 × 48, of which a square of 48, read at 64 × 64 (enlarged)" in done.out
    masks = kinema("visualize", "masks", *given, "--recipe", "videomae_smoke", "--json", "--film", "False")
    assert masks.code == 0, masks.err
    assert masks.answer["files"] == ["masks.png"]
    assert (masks.answer["method"], masks.answer["gap"]) == ("VideoMAE", 2)
    some = kinema("visualize", "masks", *given, "--recipe", "ino_smoke", "--frames", 2, "--out", tmp_path / "ino")
    assert some.code == 0, some.err
    assert "masks.png, masks.mp4 (1 frame)" in some.out
    assert "a clip's frames are 2 apart, those between passed over: --gap 1 shows every one" in some.out
    shutil.rmtree(tmp_path / "ino")
    assert files_in(tmp_path) == ["masks.png", "reconstruct.mp4", "reconstruct.png"]
    with Image.open(tmp_path / "reconstruct.png") as sheet:
        assert sheet.width == 8 + 3 * 200


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("visualize", 2, "no view named"),
        ("visualize atention v", 2, "did you mean 'attention'?"),
        ("visualize attention video.mp4 --weights pixels:16", 4, "without attention"),
        ("visualize attention video.mp4 --weights weights --point 80 3", 2, "(--point): choose one inside"),
        ("visualize pca video.mp4 --weights weights --start 6", 2, "frame 6 of 6"),
        ("visualize pca video.mp4 --weights weights --features.layer 3", 2, "2 blocks (--features.layer): use 1 to 2"),
        ("visualize pca nowhere.mp4 --weights weights", 3, "no such video"),
        ("visualize pca video.mp4 --weights empty", 4, "encoder.safetensors"),
        ("visualize pca video.mp4 --weights weights --samples 0", 2, "give at least 1"),
        ("visualize correspond video.mp4 --weights weights --points 1 99", 2, "(--points): choose one inside"),
        ("visualize correspond video.mp4 --weights weights --points 1 9 --point-frame 9", 3, "frame 9 does not exist"),
        ("visualize reconstruct video.mp4 --weights weights", 4, "the run has no checkpoint"),
        ("visualize reconstruct one.mp4 --weights trained", 3, "a pair needs 2"),
        ("visualize reconstruct video.mp4 --weights trained --mask-ratio 1", 2, "[0, 1) (--mask-ratio)"),
        ("visualize masks video.mp4", 2, "give either weights or a recipe"),
        ("visualize masks video.mp4 --recipe videomae_smok", 2, "did you mean 'videomae_smoke'?"),
        ("visualize masks video.mp4 --recipe siammae_smoke --region 0 0 49", 2, "--region"),
        ("report", 2, "no run named"),
        ("report weights", 3, "no recipe.json there"),
    ],
)
def test_what_cannot_be_shown(
    kinema: Command, inputs: Path, trained: Path, tmp_path: Path, words: str, code: int, said: str
) -> None:
    paths = {name: inputs / name for name in ("video.mp4", "one.mp4", "weights", "empty")} | {"trained": trained}
    typed = [paths.get(word, word) for word in words.split()]
    features = SMALL if "--weights" in typed and typed[1] in ("attention", "pca", "correspond") else ()
    out = ("--out", tmp_path / "out") if "video.mp4" in words or "one.mp4" in words or "nowhere" in words else ()
    kinema(*typed, *features, *out).require_error(code, said)
    assert not (tmp_path / "out").exists()


def test_help_names_every_view(kinema: Command) -> None:
    said = kinema("visualize", "--help")
    assert said.code == 0
    for view in ("reconstruct", "attention", "pca", "correspond", "masks"):
        assert view in said.out
    assert "--points" in kinema("visualize", "correspond", "--help").out


def test_the_page_of_an_old_run_is_made_again(kinema: Command, trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "old"
    shutil.copytree(trained, run)
    before = (run / "report.html").read_bytes()
    (run / "report.html").unlink()
    done = kinema("report", run, "--json")
    assert done.code == 0, done.err
    assert done.answer == {"reports": [{"file": str(run / "report.html"), "bytes": len(before)}]}
    assert (run / "report.html").read_bytes().replace(b"<h1>old<", b"<h1>run<").replace(
        b"<title>old<", b"<title>run<"
    ) == before


def test_a_page_is_there_after_every_checkpoint(
    kinema: Command, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kinema.runs import hooks

    steps = []

    def broken(run: Path) -> Path:
        steps.append(json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["step"])
        raise ZeroDivisionError("a fault of the page")

    monkeypatch.setattr(hooks, "write_report", broken)
    options = (*TINY, "--train.checkpoint-every-steps", 1, "--train.log-every-steps", 1)
    done = kinema("pretrain", "siammae_smoke", "--data", inputs / "clips", "--out", tmp_path / "run", *options)
    assert done.code == 0, done.err  # no run ends because of a picture
    assert steps == [1, 2, 3, 3]  # the last once more, when everything is there
    assert not (tmp_path / "run" / "report.html").exists()
