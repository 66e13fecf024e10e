"""Videos, masks and features that do not fit: one clear line, the right exit code, nothing half-written."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import SMALL, Command, files_in, propagate_with
from tests.realdata import real_data

_KILLED = """
import os, signal, sys
from kinema.cli.main import main
from kinema.labeling import results
write = results.write_mask
def kill(path, mask):
    if path.stem == "00001":
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, mask)
results.write_mask = kill
main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": "wrong_size.png"}, ["the mask is 40x40 pixels, the frame 80x48 (frame 0)"]),
        ({"labels": "wrong_size.png", "frame": 3}, ["(frame 3)"]),
        ({"labels": "no_object.png"}, ["no object (frame 0)", "id from 1 to 255"]),
        ({"labels": "no_object.png", "frame": 3}, ["no object (frame 3)"]),
        ({"labels": "colors.png"}, ["mode RGB", "palette or 8-bit gray"]),
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
    propagate_with(kinema, inputs, tmp_path / "out", **changes).require_error(3, *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ([["nose", 0, 81, 5]], ["joint 'nose' of frame 0 is at (81, 5), outside the image", "80 x 48 pixels"]),
        ([["nose", 0, 5, 5], ["nose", 9, 5, 5]], ["frames [0, 9]", "it has frames 0 to 5"]),
        ([["nose", 0, 5, 5], ["nose", 0, 6, 5]], ["'nose' is given twice for frame 0"]),
        ([["nose", 0, float("nan"), 5]], ["x of nan"]),
        ([], ["no point in it", '{"points": [{"name": "nose"']),
    ],
)
def test_points_that_do_not_fit(
    kinema: Command, inputs: Path, tmp_path: Path, points: list[list[object]], words: list[str]
) -> None:
    entries = [dict(zip(("name", "frame", "x", "y"), point, strict=True)) for point in points]
    (tmp_path / "points.json").write_text(json.dumps({"points": entries}))
    done = propagate_with(kinema, inputs, tmp_path / "out", labels=tmp_path / "points.json")
    done.require_error(3, *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros((40, 80, 2), np.float32), ["shape (40, 80, 2) (frame 0)", "give float32 (48, 80, 2)"]),
        (np.full((48, 80, 2), np.nan, np.float32), ["NaN or infinite values (frame 0)"]),
        (np.zeros((48, 80), np.float32), ["shape (48, 80)", "height, width, channels"]),
    ],
)
def test_maps_that_do_not_fit(
    kinema: Command, inputs: Path, tmp_path: Path, values: np.ndarray, words: list[str]
) -> None:
    np.save(tmp_path / "maps.npy", values)
    propagate_with(kinema, inputs, tmp_path / "out", labels=tmp_path / "maps.npy").require_error(3, *words)
    assert not (tmp_path / "out").exists()


def test_a_run_that_is_killed_is_done_again(kinema: Command, inputs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--labels", inputs / "mask.png", "--weights", "pixels:16", "--out", out, *SMALL, "--results-only"]
    words = ["propagate", inputs / "video.mp4", *options]
    command = [sys.executable, "-c", _KILLED, *map(str, words)]
    assert subprocess.run(command, check=False, capture_output=True).returncode == -signal.SIGKILL
    assert files_in(out) == [".masks.partial", ".masks.partial/00000.png", ".unfinished"]
    assert kinema(*words).code == 0
    assert files_in(out) == ["masks", *(f"masks/{number:05d}.png" for number in range(6)), "quality.csv"]


def test_a_late_mask_of_the_wrong_size_is_found_before_the_work(kinema: Command, inputs: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels"
    labels.mkdir()
    shutil.copy(inputs / "mask.png", labels / "00000.png")
    shutil.copy(inputs / "wrong_size.png", labels / "00005.png")
    done = propagate_with(kinema, inputs, tmp_path / "out", labels=labels)
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
    propagate_with(kinema, inputs, tmp_path / "out", **options).require_error(2, *words)
    assert not (tmp_path / "out").exists()


def test_a_video_of_one_frame_gets_its_mask(kinema: Command, inputs: Path, tmp_path: Path) -> None:
    done = propagate_with(kinema, inputs, tmp_path / "out", video="one.mp4")
    assert done.code == 0, done.err
    assert files_in(tmp_path / "out") == ["masks", "masks/00000.png", "overlay.mp4", "quality.csv"]


@pytest.mark.parametrize("name", ["bad_video_sample.mp4", "playable_but_bad_container.mkv"])
def test_videos_that_look_bad_but_decode(kinema: Command, inputs: Path, tmp_path: Path, name: str) -> None:
    from kinema.video.masks import write_mask
    from kinema.video.reader import open_video
    from tests.labeling.small import square

    path = real_data("videos", "odd") / name
    with open_video(path) as video:
        write_mask(tmp_path / "mask.png", square(size=(video.height, video.width)))
        count = video.num_frames
    options = ["--out", tmp_path / "out", "--results-only", *SMALL]
    done = kinema("propagate", path, "--labels", tmp_path / "mask.png", "--weights", "pixels:16", *options)
    assert done.code == 0, done.err
    assert len(list((tmp_path / "out" / "masks").iterdir())) == count


@pytest.mark.parametrize(
    "name", ["pixels:0", "pixels:x", "untrained:giant/16", "untrained:tiny/0", "untrained:tiny/16@-1"]
)
def test_baselines_that_do_not_exist(kinema: Command, inputs: Path, tmp_path: Path, name: str) -> None:
    propagate_with(kinema, inputs, tmp_path / "out", weights=name).require_error(4, name.split(":")[1])
