"""The measures of YouTube-VOS, VIP and JHMDB on made-up predictions, and files that do not fit."""

import json
from pathlib import Path

import numpy as np
import pytest

from kinema.benchmark.score import score_predictions
from kinema.benchmark.scoring.base import map_parallel, resize_mask
from kinema.benchmark.scoring.jhmdb import HEADER, JhmdbScoring, read_joints, write_joints
from kinema.datasets.jhmdb import read_clips
from kinema.errors import DatasetError
from kinema.layouts import JhmdbClip, VipLayout, YouTubeVosLayout
from kinema.tools.synthetic.writers import encode_mat
from kinema.video.masks import write_mask
from tests.realdata import real_data
from tests.reference import segmentation as reference

FRAMES = (0, 5, 10, 15)
FIRST = {1: 0, 4: 5}
"""Frame on which each object appears."""


def write(path: Path, ids: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mask(path, ids)


def truth(frame: int) -> np.ndarray:
    mask = np.zeros((16, 20), np.uint8)
    mask[2:8, 2:8] = 1
    if frame >= FIRST[4]:
        mask[9:14, 10:18] = 4
    return mask


@pytest.fixture
def youtube(tmp_path: Path) -> tuple[YouTubeVosLayout, Path]:
    """A root with truth, and perfect predictions: an object of a category seen, a late one of another."""
    layout, results = YouTubeVosLayout(tmp_path / "root"), tmp_path / "results"
    for frame in FRAMES:
        write(layout.truth_dir("valid", "v") / f"{frame:05d}.png", truth(frame))
        write(results / "Annotations" / "v" / f"{frame:05d}.png", truth(frame))
    write(layout.mask_file("valid", "v", 0), truth(0))
    write(layout.mask_file("valid", "v", 5), truth(5))
    objects = {str(k): {"category": name, "frames": []} for k, name in ((1, "dog"), (4, "yak"))}
    layout.meta_file("valid").write_text(json.dumps({"videos": {"v": {"objects": objects}}}))
    layout.meta_file("train").parent.mkdir()
    layout.meta_file("train").write_text(json.dumps({"videos": {"t": {"objects": {"1": {"category": "dog"}}}}}))
    return layout, results


def test_perfect_masks_of_seen_and_unseen(youtube: tuple[YouTubeVosLayout, Path]) -> None:
    score = score_predictions("ytvos", youtube[0].root, youtube[1])
    assert {name: score[name] for name in score if name != "rows"} == {
        "J&F-Mean": 1.0,
        "J-Seen": 1.0,
        "F-Seen": 1.0,
        "J-Unseen": 1.0,
        "F-Unseen": 1.0,
    }
    assert score["rows"] == [
        {"sequence": "v", "object": 1, "category": "dog", "seen": True, "J-Mean": 1.0, "F-Mean": 1.0},
        {"sequence": "v", "object": 4, "category": "yak", "seen": False, "J-Mean": 1.0, "F-Mean": 1.0},
    ]


def test_an_object_counts_after_the_frame_it_is_given_on(youtube: tuple[YouTubeVosLayout, Path]) -> None:
    layout, results = youtube
    folder = results / "Annotations" / "v"
    (folder / "00000.png").unlink()
    moved = np.roll(truth(5), 1, axis=1)
    write(folder / "00005.png", moved)
    score = score_predictions("ytvos", layout.root, results)
    expected = reference.region_similarity(truth(5) == 1, moved == 1)
    assert score["J-Seen"] == pytest.approx((expected + 2) / 3)
    assert score["J-Unseen"] == 1.0
    parts = [score[name] for name in ("J-Seen", "F-Seen", "J-Unseen", "F-Unseen")]
    assert score["J&F-Mean"] == pytest.approx(np.mean(parts))


def test_predictions_that_do_not_fit(youtube: tuple[YouTubeVosLayout, Path]) -> None:
    layout, results = youtube
    file = results / "Annotations" / "v" / "00010.png"
    write(file, truth(10) * 2)
    with pytest.raises(DatasetError, match=r"object id 8 does not exist \(.*00010.png\)"):
        score_predictions("ytvos", layout.root, results)
    write(file, truth(10)[:8])
    with pytest.raises(DatasetError, match=r"the prediction is 20x8 .*resize it to 20x16, the size of the true"):
        score_predictions("ytvos", layout.root, results)
    file.unlink()
    with pytest.raises(DatasetError, match=r"no prediction \(.*00010.png\)"):
        score_predictions("ytvos", layout.root, results)
    for path in layout.truth_dir("valid", "v").iterdir():
        path.unlink()
    layout.truth_dir("valid", "v").rmdir()
    with pytest.raises(DatasetError, match="true masks are withheld"):
        score_predictions("ytvos", layout.root, results)


@pytest.fixture
def vip(tmp_path: Path) -> tuple[VipLayout, Path]:
    """Two videos of two frames of noise, the second video with fewer classes."""
    layout, results = VipLayout(tmp_path / "root"), tmp_path / "results"
    layout.list_file("val").parent.mkdir(parents=True)
    layout.list_file("val").write_text("a\nb\n")
    rng = np.random.default_rng(0)
    for name, classes in (("a", 7), ("b", 3)):
        for frame in range(2):
            write(layout.mask_file(name, frame), rng.integers(0, classes, (9, 12), dtype=np.uint8))
            write(results / name / f"{frame + 1:012d}.png", rng.integers(0, classes, (9, 12), dtype=np.uint8))
    return layout, results


def pairs(layout: VipLayout, results: Path, *names: str) -> list[tuple[np.ndarray, np.ndarray]]:
    from kinema.video.masks import read_mask

    files = [path for name in names for path in sorted(layout.masks_dir(name).iterdir())]
    return [(read_mask(path), read_mask(results / path.parent.name / path.name)) for path in files]


def test_one_confusion_matrix_of_all_videos(vip: tuple[VipLayout, Path]) -> None:
    score = score_predictions("vip", vip[0].root, vip[1])
    assert score["mIoU"] == pytest.approx(reference.mean_iou(pairs(*vip, "a", "b"), 20))
    for row in score["rows"]:
        assert row["mIoU"] == pytest.approx(reference.mean_iou(pairs(*vip, row["sequence"]), 20))
    assert score["mIoU"] != pytest.approx(np.mean([row["mIoU"] for row in score["rows"]]))


def test_parts_of_another_size_are_resized_and_strange_ones_refused(vip: tuple[VipLayout, Path]) -> None:
    layout, results = vip
    before = score_predictions("vip", layout.root, results)
    for path in results.glob("*/*.png"):
        from kinema.video.masks import read_mask

        write(path, np.repeat(np.repeat(read_mask(path), 2, axis=0), 2, axis=1))
    assert score_predictions("vip", layout.root, results) == before
    write(results / "a" / f"{1:012d}.png", np.full((9, 12), 20, np.uint8))
    with pytest.raises(DatasetError, match=r"class 20 does not exist \(.*a/000000000001.png\)"):
        score_predictions("vip", layout.root, results)


@pytest.mark.parametrize("name", ["static", "jitter5"])
def test_official_pck(name: str) -> None:
    official = json.loads(real_data("reference_scores.json").read_text())["jhmdb_pck_percent"][name]
    score = score_predictions("jhmdb", real_data("jhmdb"), real_data("jhmdb_reference", f"{name}.npz"))
    assert {key: 100 * value for key, value in score.items() if key != "rows"} == pytest.approx(
        {f"PCK@{threshold}": value for threshold, value in official.items()}, abs=1e-6
    )
    assert len(score["rows"]) == 5


@pytest.fixture
def joints(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A root of one clip, and its joints."""
    points = np.random.default_rng(0).uniform(0, 200, (4, 15, 2))
    root, clip = tmp_path / "root", JhmdbClip("run", "one")
    file = root / "joint_positions" / str(clip) / "joint_positions.mat"
    file.parent.mkdir(parents=True)
    file.write_bytes(encode_mat({"pos_img": points.transpose(2, 1, 0) + 1}))
    (root / "splits").mkdir()
    (root / "splits" / "run_test_split1.txt").write_text("one.avi 2\n")
    return root, points


def test_joints_on_disk_are_exact(joints: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    root, points = joints
    points[2, 3] = np.nan
    write_joints(tmp_path / "one.csv", points, np.ones((4, 15)))
    np.testing.assert_array_equal(read_joints(tmp_path / "one.csv"), points)
    assert score_predictions("jhmdb", root, tmp_path)["PCK@0.1"] == 1.0
    np.savez(tmp_path / "all.npz", **{"run/one": points.transpose(2, 1, 0)})
    assert score_predictions("jhmdb", root, tmp_path / "all.npz") == score_predictions("jhmdb", root, tmp_path)


def test_joints_that_do_not_fit(joints: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    root, points = joints
    file = tmp_path / "one.csv"
    with pytest.raises(DatasetError, match=r"no prediction \(.*one.csv\)"):
        score_predictions("jhmdb", root, tmp_path)
    write_joints(file, points[:3], np.ones((3, 15)))
    with pytest.raises(DatasetError, match="joints of 3 frames, but true joints of 4"):
        score_predictions("jhmdb", root, tmp_path)
    write_joints(file, -points, np.ones((4, 15)))
    with pytest.raises(DatasetError, match="no joint was found"):
        score_predictions("jhmdb", root, tmp_path)
    for text in ("", "words", ",".join(HEADER), f"{','.join(HEADER)}\n0,neck,1,2,1\n", "frame,name\n0,neck\n" * 15):
        file.write_text(text)
        with pytest.raises(DatasetError, match=r"joints.*one.csv"):
            score_predictions("jhmdb", root, tmp_path)
    for name, array in (("other", points), ("run/one", points)):
        np.savez(tmp_path / "all.npz", **{name: array})
        with pytest.raises(DatasetError, match=r"joints of .*all.npz"):
            score_predictions("jhmdb", root, tmp_path / "all.npz")


def test_a_clip_without_any_joint_found_does_not_spoil_the_rest(joints: tuple[Path, np.ndarray]) -> None:
    (clip,) = read_clips(joints[0], labels_only=True)
    scores = JhmdbScoring().summarize([clip, clip], [np.full((3, 15), np.nan), np.zeros((3, 15))])
    assert (scores.summary["PCK@0.1"], scores.rows[0]["PCK@0.1"], scores.rows[1]["PCK@0.1"]) == (1.0, None, 1.0)


def test_masks_at_another_size_and_every_input_once() -> None:
    mask = np.arange(24, dtype=np.uint8).reshape(4, 6)
    assert resize_mask(mask, (2, 3)).tolist() == mask[::2, ::2].tolist()
    assert resize_mask(mask, None) is mask
    assert map_parallel(lambda value: value**2, range(5)) == [0, 1, 4, 9, 16]
