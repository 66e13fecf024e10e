import errno
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat

from kinema.draws import seed_of
from kinema.errors import ConfigError
from kinema.layouts import DavisLayout, JhmdbLayout, VipLayout, YouTubeVosLayout
from kinema.tools.synthetic import write, writers
from kinema.tools.synthetic.render import RenderedClip, render_clip
from kinema.tools.synthetic.scene import Difficulty, SceneConfig
from kinema.tools.synthetic.write import write_set

CONFIG = SceneConfig(height=64, width=96, num_frames=11, difficulty=Difficulty(late_share=0.5))
CLIPS = 5


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synthetic") / "set"
    write_set(out, clips=CLIPS, seed=4, config=CONFIG)
    return out


def _clip(number: int) -> RenderedClip:
    return render_clip(CONFIG, seed_of(4, number, "clip"))


def _digests(root: Path) -> dict[str, str]:
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _ids(path: Path) -> np.ndarray:
    image = Image.open(path)
    assert image.mode == "P"
    return np.array(image)


def _check_jpeg(path: Path, frame: np.ndarray) -> None:
    stored = cv2.imread(str(path))
    assert stored is not None
    assert np.abs(stored[..., ::-1].astype(int) - frame).mean() < 6


def test_same_seed_same_bytes_and_another_seed_others(root: Path, tmp_path: Path) -> None:
    write_set(tmp_path / "again", clips=CLIPS, seed=4, config=CONFIG)
    assert _digests(tmp_path / "again") == _digests(root)
    write_set(tmp_path / "other", clips=1, seed=5, config=CONFIG, layouts=("davis",))
    other = _digests(tmp_path / "other")
    assert other["davis/JPEGImages/480p/clip-0000/00000.jpg"] not in _digests(root).values()


def test_description_tells_how_to_make_the_set_again(root: Path) -> None:
    told = json.loads((root / "dataset.json").read_text())
    assert (told["seed"], told["clips"], told["train"], told["val"], told["frames"]) == (4, 5, 4, 1, 55)
    again = SceneConfig(**(told["config"] | {"difficulty": Difficulty(**told["config"]["difficulty"])}))
    assert again == CONFIG
    assert {"kinema", "numpy", "opencv"} <= set(told["versions"])


def test_davis(root: Path) -> None:
    layout = DavisLayout(root / "davis")
    train, val = layout.sequences("train"), layout.sequences("val")
    assert (len(train), len(val)) == (4, 1)
    for number, name in enumerate(train + val):
        clip = _clip(number)
        assert len(list(layout.frames_dir(name).iterdir())) == len(list(layout.masks_dir(name).iterdir())) == 11
        for frame in (0, 10):
            _check_jpeg(layout.frame_file(name, frame), clip.frames[frame])
            assert np.array_equal(_ids(layout.mask_file(name, frame)), clip.masks[frame])


def test_palette_is_that_of_davis(root: Path) -> None:
    layout = DavisLayout(root / "davis")
    palette = Image.open(layout.mask_file("clip-0000", 0)).getpalette()
    assert palette is not None
    assert palette[:12] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]
    assert palette[24:27] == [64, 0, 0]
    assert palette[-3:] == [224, 224, 192]


def test_youtube_vos(root: Path) -> None:
    layout = YouTubeVosLayout(root / "youtube_vos")
    (video,) = layout.videos("valid")
    clip = _clip(4)
    assert [path.name for path in sorted(layout.frames_dir("valid", video).iterdir())] == [
        "00000.jpg",
        "00005.jpg",
        "00010.jpg",
    ]
    assert len(list(layout.all_frames_dir("valid", video).iterdir())) == 11
    objects = json.loads(layout.meta_file("valid").read_text())["videos"][video]["objects"]
    given = {int(path.stem): _ids(path) for path in layout.masks_dir("valid", video).iterdir()}
    for k, entry in objects.items():
        shown = [frame for frame in (0, 5, 10) if (clip.masks[frame] == int(k)).any()]
        assert entry["frames"] == [f"{frame:05d}" for frame in shown]
        assert np.array_equal(given[shown[0]] == int(k), clip.masks[shown[0]] == int(k))
        assert not any((mask == int(k)).any() for frame, mask in given.items() if frame != shown[0])
    assert {entry["category"] for entry in objects.values()} == {"figure", "creature"}
    assert any(frame > 0 for frame in given), "no late object in this clip: choose another seed"
    for frame in (0, 5, 10):
        assert np.array_equal(_ids(layout.mask_file("valid_truth", video, frame)), clip.masks[frame])


def test_youtube_vos_trains_on_every_annotated_frame(root: Path) -> None:
    layout = YouTubeVosLayout(root / "youtube_vos")
    assert len(layout.videos("train")) == 4
    for frame in (0, 5, 10):
        assert np.array_equal(_ids(layout.mask_file("train", "clip-0000", frame)), _clip(0).masks[frame])


def test_vip(root: Path) -> None:
    layout = VipLayout(root / "vip")
    assert layout.videos("train") == ["videos1", "videos2", "videos3", "videos4"]
    assert layout.videos("val") == ["videos5"]
    clip = _clip(4)
    for frame in range(11):
        assert np.array_equal(_ids(layout.mask_file("videos5", frame)), clip.parts[frame])
    _check_jpeg(layout.frame_file("videos5", 10), clip.frames[10])


def test_jhmdb(root: Path) -> None:
    layout = JhmdbLayout(root / "jhmdb")
    assert len(layout.clips("train")) == 4
    (held_out,) = layout.clips("test")
    clip = _clip(4)
    image = cv2.imread(str(layout.frame_file(held_out, 3)))
    assert image is not None
    assert np.array_equal(image[..., ::-1], clip.frames[3])
    positions = loadmat(layout.joints_file(held_out))["pos_img"]
    assert positions.shape == (2, 15, 11)
    np.testing.assert_array_equal(positions[:, 7, 3] - 1, clip.joints[3, 7].astype(float))


def test_chosen_layouts_only_and_progress(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    out = tmp_path / "empty"
    out.mkdir()
    write_set(out, clips=2, seed=0, config=CONFIG, layouts=("vip",), on_clip=lambda *step: seen.append(step))
    assert sorted(path.name for path in out.iterdir()) == ["dataset.json", "vip"]
    assert seen == [(1, 2), (2, 2)]
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_held_out_share() -> None:
    assert [write.count_held_out(clips) for clips in (1, 2, 4, 8, 13)] == [1, 1, 1, 2, 3]


def test_all_clips_can_be_held_out(tmp_path: Path) -> None:
    told = write_set(tmp_path / "set", clips=2, seed=0, config=CONFIG, layouts=("davis",), held_out=2)
    layout = DavisLayout(tmp_path / "set" / "davis")
    assert (told["train"], told["val"]) == (0, 2)
    assert (layout.sequences("train"), layout.sequences("val")) == ([], ["clip-0000", "clip-0001"])


def test_a_set_is_known_by_its_description(root: Path, tmp_path: Path) -> None:
    wanted = write.describe_set(clips=CLIPS, seed=4, config=CONFIG)
    assert write.holds_set(root, wanted)
    assert not write.holds_set(tmp_path / "absent", wanted)
    assert not write.holds_set(tmp_path, wanted)
    harder = replace(CONFIG, difficulty=replace(CONFIG.difficulty, blur=3.0))
    with pytest.raises(ConfigError, match=r"config\.difficulty\.blur 0\.5, not 3\.0 \(.*set\): name another folder"):
        write.holds_set(root, write.describe_set(clips=CLIPS, seed=4, config=harder))
    (tmp_path / "dataset.json").write_text("[1]")
    with pytest.raises(ConfigError, match=r"dataset\.json cannot be read"):
        write.holds_set(tmp_path, wanted)
    with pytest.raises(ConfigError, match="not empty"):
        write.holds_set(root / "davis", wanted)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"clips": 0}, "clips is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"layouts": ()}, "no layout"),
        ({"held_out": 0}, "0 held out"),
        ({"held_out": 2}, "2 held out"),
        ({"layouts": ("davsi",)}, "unknown layout 'davsi'.*did you mean 'davis'"),
    ],
)
def test_wrong_arguments_write_nothing(tmp_path: Path, wrong: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        write_set(tmp_path / "out", **({"clips": 1, "seed": 0, "config": CONFIG} | wrong))
    assert not list(tmp_path.iterdir())


def test_an_output_in_use_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    for out, message in (("file", "is a file"), ("full", "not empty"), ("file/below", "cannot write the set")):
        with pytest.raises(ConfigError, match=message):
            write_set(tmp_path / out, clips=1, seed=0, config=CONFIG)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} == {"file", "full", "full/file"}


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def fail_on_third(path: Path, content: bytes) -> None:
        written.append(path)
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    monkeypatch.setattr(writers, "_write", fail_on_third)
    with pytest.raises(ConfigError, match="No space left on device"):
        write_set(tmp_path / "out", clips=1, seed=0, config=CONFIG)
    assert not list(tmp_path.iterdir())
