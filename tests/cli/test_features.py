"""`kinema features`: what is in the file is what the extractor gives, nothing else is left, and refusals."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from kinema.cli.main import main
from kinema.datasets.scan import MediaItem
from kinema.transfer.clips import read_views
from kinema.transfer.probe_config import ClipReading
from kinema.video.sampling import Clips
from kinema.weights.load import load

READING = ClipReading(sampling=Clips(num_frames=2, stride=1), views=2, size=32)
QUICK = ("--reading.size", "32", "--reading.sampling.num-frames", "2", "--reading.sampling.stride", "1")


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Two videos as folders of three frames, one of them a folder deeper, and a file that is none."""
    rng = np.random.default_rng(0)
    for name in ("a", "deeper/b"):
        folder = tmp_path / "videos" / name
        folder.mkdir(parents=True)
        for number in range(3):
            Image.fromarray(rng.integers(0, 256, (32, 40, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    (tmp_path / "videos/torn.mp4").write_bytes(b"no video")
    return tmp_path / "videos"


def _run(videos: Path, out: Path, *more: str) -> int:
    given = [str(videos), "--weights", "untrained:tiny/16@0", "--out", str(out), "--num-workers", "0"]
    return main(["features", *given, *QUICK, "--reading.views", "2", *more])


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
@pytest.mark.parametrize("kind", ["pooled", "dense"])
def test_an_entry_a_video_and_the_unreadable_named(
    ending: str, kind: str, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / f"features.{ending}"
    assert _run(videos, out, "--kind", kind, "--json") == 0
    printed = capsys.readouterr()
    answer = json.loads(printed.out)
    assert answer["videos"] == 2
    assert [name for name, _ in answer["unreadable"]] == ["torn.mp4"]
    (said,) = [line for line in printed.err.splitlines() if line.startswith("unreadable: ")]
    assert said.count("torn.mp4") == 1
    arrays, about = _read(out)
    assert about == {name: value for name, value in answer.items() if name != "out"}
    assert list(arrays) == ["a", "deeper/b"]
    network = load("untrained:tiny/16@0").with_settings(READING.to_feature_settings())
    for name, array in arrays.items():
        views = read_views(MediaItem(path=videos / name, kind="frames"), READING)
        dense = torch.stack([network.clip(view) for view in views])  # (V, t, h, w, D)
        expected = dense if kind == "dense" else dense.mean(dim=(1, 2, 3))
        assert array.shape == tuple(answer["shape"] if name == "a" else expected.shape)
        np.testing.assert_allclose(array, expected.numpy(), atol=1e-5)
    assert [path.name for path in out.parent.iterdir()] == [out.name], "nothing is left beside it"


def _read(out: Path) -> tuple[dict[str, np.ndarray], dict]:
    if out.suffix == ".npz":
        with np.load(out) as file:
            about = json.loads(file["about.json"])
            return {name: file[name] for name in sorted(file.files) if name != "about.json"}, about
    with safe_open(out, "numpy") as file:
        return {name: file.get_tensor(name) for name in sorted(file.keys())}, json.loads(file.metadata()["about.json"])


def test_size_and_frames_are_the_encoder_s_own_unless_given(videos: Path, tmp_path: Path, capsys) -> None:
    given = [str(videos / "a"), "--weights", "untrained:tiny/16@0", "--num-workers", "0", "--json"]
    assert main(["features", *given, "--out", str(tmp_path / "own.npz"), "--reading.sampling.num-frames", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["reading"]["size"] == 224


def test_half_precision_and_the_table(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(videos, tmp_path / "half.npz", "--dtype", "float16") == 0
    assert "2 videos, pooled features of 2 x 192 float16 each, from 2 views of 2 frames" in (
        printed := capsys.readouterr().out
    )
    assert "1 unreadable and without an entry" in printed
    with np.load(tmp_path / "half.npz") as file:
        assert file["a"].dtype == np.float16


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [("features.pt", 2, "no such kind of feature file: .pt"), ("there.npz", 2, "already there")],
)
def test_refusals(videos: Path, tmp_path: Path, capsys, name: str, code: int, message: str) -> None:
    (tmp_path / "there.npz").write_bytes(b"mine")
    assert _run(videos, tmp_path / name) == code
    assert message in capsys.readouterr().err
    assert (tmp_path / "there.npz").read_bytes() == b"mine"


def test_a_size_that_does_not_divide_into_patches_is_refused(videos: Path, tmp_path: Path, capsys) -> None:
    assert _run(videos, tmp_path / "out.npz", "--reading.size", "40") == 2
    assert "crops of 40 pixels do not divide into patches of 16 (--reading.size): give 32" in capsys.readouterr().err


def test_nothing_readable_leaves_no_file(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(videos / "torn.mp4", tmp_path / "out.npz") == 3
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("kinema: error: not a readable video")
    assert said.endswith("torn.mp4): re-encode it or leave it out")
    assert said.count("torn.mp4") == 1
    (videos / "other.mp4").write_bytes(b"no video")
    both = videos / "both.txt"
    both.write_text("other.mp4\ntorn.mp4\n")
    assert _run(both, tmp_path / "out.npz") == 3
    assert "kinema: error: none of 2 files can be read: not a readable video" in capsys.readouterr().err
    assert not list(tmp_path.glob("*out*"))
