"""Label files are read as they are, or rejected with an error of one line."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinema.errors import ConfigError, DatasetError
from kinema.labeling.label_files import read_labels
from kinema.labeling.label_kinds import JointKind, MapKind, MaskKind
from kinema.video.masks import write_mask
from kinema.video.reader import open_video
from tests.labeling.small import HEIGHT, WIDTH, moving_square, square
from tests.labeling.test_propagate_video import PROTOCOL

NOSE = {"name": "nose", "frame": 0, "x": 12.5, "y": 40}


def _write_json(folder: Path, content: Any) -> Path:
    file = folder / "points.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def test_reads_points_in_the_order_of_their_names(tmp_path: Path) -> None:
    points = [NOSE, {"name": "Fuß, links", "frame": 7, "x": 1, "y": 2}, {"name": "nose", "frame": 7, "x": 3, "y": 4}]
    labels = read_labels(_write_json(tmp_path, {"points": points, "skeleton": [["Fuß, links", "nose"]]}))
    assert (labels.joints, labels.skeleton) == (("nose", "Fuß, links"), ((1, 0),))
    assert sorted(labels.by_frame) == [0, 7]
    np.testing.assert_array_equal(labels.by_frame[0], [[12.5, 40], [np.nan, np.nan]])
    np.testing.assert_array_equal(labels.by_frame[7], [[3, 4], [1, 2]])
    assert isinstance(labels.make_kind(PROTOCOL), JointKind)


def test_reads_masks_of_one_frame_or_several(tmp_path: Path) -> None:
    for number in (0, 12):
        write_mask(tmp_path / f"{number:05d}.png", square(value=3 + number))
    folder = read_labels(tmp_path)
    assert sorted(folder.by_frame) == [0, 12]  # frames between them have no label
    assert np.array_equal(folder.by_frame[12], square(value=15))
    kind = folder.make_kind(PROTOCOL)
    assert isinstance(kind, MaskKind)
    assert kind.names == [3, 15]
    single = read_labels(tmp_path / "00000.png", frame=4)
    assert np.array_equal(single.by_frame[4], square(value=3))


def test_reads_maps_from_every_kind_of_file(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(6, 8, 2)).astype(np.float32)
    (tmp_path / "folder").mkdir()
    np.save(tmp_path / "folder" / "00003.npy", values)
    np.save(tmp_path / "a.npy", values.astype(np.float64))
    np.savez_compressed(tmp_path / "one.npz", heat=values)
    np.savez(tmp_path / "many.npz", **{"0": values, "9": 2 * values})  # pyright: ignore[reportArgumentType]
    for name, frame, numbers in (("folder", 0, [3]), ("a.npy", 5, [5]), ("one.npz", 2, [2]), ("many.npz", 0, [0, 9])):
        labels = read_labels(tmp_path / name, frame=frame)
        assert sorted(labels.by_frame) == numbers
        assert np.array_equal(labels.by_frame[numbers[0]], values)
        assert labels.by_frame[numbers[0]].dtype == np.float32
        kind = labels.make_kind(PROTOCOL)
        assert isinstance(kind, MapKind)
        assert len(kind.names) == 2
    for name in ("folder", "many.npz"):
        with pytest.raises(ConfigError, match="--frame is for a single PNG or map"):
            read_labels(tmp_path / name, frame=1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a readable JSON"),
        ("[" * 100_000, "not a readable JSON"),
        ([NOSE], "no list of points"),
        ({"points": []}, "no point in it"),
        ({"points": [NOSE], "lines": []}, "unknown key 'lines'"),
        ({"points": [NOSE | {"z": 1}]}, r"point 0: keys \['frame', 'name', 'x', 'y', 'z'\]"),
        ({"points": [NOSE, {"name": "nose", "x": 1, "y": 2}]}, r"point 1: keys \['name', 'x', 'y'\]"),
        ({"points": [[0, 1, 2]]}, "point 0: keys"),
        ({"points": [NOSE | {"name": ""}]}, "a name of ''"),
        ({"points": [NOSE | {"name": "a\nb"}]}, r"a name of 'a\\nb'"),
        ({"points": [NOSE | {"frame": -1}]}, "a frame of -1"),
        ({"points": [NOSE | {"frame": 1.5}]}, "a frame of 1.5"),
        ({"points": [NOSE | {"frame": True}]}, "a frame of True"),
        ({"points": [NOSE | {"x": float("nan")}]}, "x of nan, which is not a finite number"),
        ({"points": [NOSE | {"y": float("inf")}]}, "y of inf"),
        ({"points": [NOSE | {"y": "4"}]}, "y of '4'"),
        ({"points": [NOSE | {"x": 10**400}]}, "x of 1000"),
        ({"points": [NOSE, NOSE | {"x": 3}]}, "'nose' is given twice for frame 0"),
        ({"points": [NOSE], "skeleton": [["nose", "ear"]]}, "the skeleton names 'ear'"),
        ({"points": [NOSE], "skeleton": [["nose"]]}, "no list of pairs"),
        ({"points": [NOSE], "skeleton": {"nose": "nose"}}, "no list of pairs"),
    ],
)
def test_rejects_points_that_are_not_valid(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(DatasetError, match=message) as error:
        read_labels(_write_json(tmp_path, content))
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 1000


def test_rejects_binary_content_as_json(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match="not a readable JSON"):
        read_labels(tmp_path / "a.json")


@pytest.mark.parametrize(("x", "y"), [(-0.1, 5), (WIDTH, 5), (5, HEIGHT), (1e6, 1e6)])
def test_rejects_joints_outside_the_image(tmp_path: Path, x: float, y: float) -> None:
    labels = read_labels(_write_json(tmp_path, {"points": [NOSE, {"name": "ear", "frame": 3, "x": x, "y": y}]}))
    with pytest.raises(DatasetError, match=r"'ear' of frame 3 is at .* outside the image .* 80 x 48 pixels"):
        labels.check_inside(open_video(moving_square()))
    inside = {"points": [NOSE, {"name": "ear", "frame": 3, "x": WIDTH - 0.5, "y": 0}]}
    read_labels(_write_json(tmp_path, inside)).check_inside(open_video(moving_square()))


def test_rejects_files_that_hold_no_float_map(tmp_path: Path) -> None:
    np.save(tmp_path / "flat.npy", np.zeros((4, 4), np.float32))
    np.save(tmp_path / "whole.npy", np.zeros((4, 4, 1), np.int64))
    np.save(tmp_path / "objects.npy", np.array([None, {}]), allow_pickle=True)
    np.savez(tmp_path / "named.npz", a=np.zeros((4, 4, 1)), b=np.zeros((4, 4, 1)))
    np.savez(tmp_path / "nothing.npz")
    (tmp_path / "cut.npy").write_bytes((tmp_path / "flat.npy").read_bytes()[:-9])
    (tmp_path / "text.npy").write_text("words")
    (tmp_path / "text.npz").write_text("words")
    for name, message in {
        "flat.npy": r"shape \(4, 4\)",
        "whole.npy": "type int64",
        "objects.npy": "not a readable float map",
        "cut.npy": "not a readable float map",
        "text.npy": "not a readable float map",
        "text.npz": "not a readable float map",
        "named.npz": "arrays named a, b",
        "nothing.npz": "arrays named nothing",
    }.items():
        with pytest.raises(DatasetError, match=message):
            read_labels(tmp_path / name)


def test_rejects_a_large_archive_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "zeros.npz", heat=np.zeros((400, 400, 40), np.float32))
    with zipfile.ZipFile(tmp_path / "zeros.npz") as archive:
        size = archive.infolist()[0].file_size
    assert size > 100 * (tmp_path / "zeros.npz").stat().st_size
    monkeypatch.setattr("kinema.labeling.label_files._MAX_ARCHIVE_BYTES", size - 1)
    with pytest.raises(DatasetError, match="GiB"):
        read_labels(tmp_path / "zeros.npz")


def test_rejects_folders_with_conflicting_files(tmp_path: Path) -> None:
    write_mask(tmp_path / "0.png", square())
    write_mask(tmp_path / "00000.png", square())
    with pytest.raises(DatasetError, match="two files for one frame"):
        read_labels(tmp_path)
    (tmp_path / "0.png").unlink()
    np.save(tmp_path / "00001.npy", np.zeros((4, 4, 1)))
    with pytest.raises(DatasetError, match=r"both PNG and \.npy"):
        read_labels(tmp_path)
    (tmp_path / "00001.npy").unlink()
    write_mask(tmp_path / "first.png", square())
    with pytest.raises(DatasetError, match=r"not a folder of masks by frame number: first\.png"):
        read_labels(tmp_path)
