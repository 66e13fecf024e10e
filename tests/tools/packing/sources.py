"""A small collection with every kind of file to pack, and packing without child processes."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kinema.tools.packing import pack as packing
from kinema.tools.packing import prepare
from kinema.tools.packing.pack import PackResult, pack
from kinema.tools.packing.pack_config import PackSettings
from kinema.tools.packing.prepare import plan_pack
from tests.video.encode import encode, moving_frames

SHARDS = PackSettings(form="shards", short_side=32, shard_mb=1)
H264 = PackSettings(form="h264", short_side=32)


def write_tree(root: Path) -> Path:
    """Writes two labeled videos (one of uneven times), a folder of frames, an image, three unreadable files, a list."""
    for folder in ("run", "jump", "clip", "pictures", "lists"):
        (root / folder).mkdir(parents=True)
    encode(root / "run" / "a.mp4", moving_frames(14, 48, 64, seed=1))
    uneven_ms = [0, 40, 80, 200, 240, 280, 600, 640, 680, 720]
    encode(root / "jump" / "b.mkv", moving_frames(10, 36, 50, seed=2), pts_ms=uneven_ms)
    for index, frame in enumerate(moving_frames(5, 40, 40, seed=3)):
        Image.fromarray(frame).save(root / "clip" / f"{index}.png")
    Image.fromarray(moving_frames(1, 90, 70, seed=4)[0]).save(root / "pictures" / "one.jpg", quality=95)
    (root / "run" / "empty.mp4").write_bytes(b"")
    (root / "run" / "text.avi").write_text("no video\n" * 100)
    whole = (root / "run" / "a.mp4").read_bytes()
    (root / "run" / "torn.mp4").write_bytes(whole[: len(whole) // 2])
    lines = ["# classes first", "run/a.mp4 1", "jump/b.mkv 2", "run/empty.mp4 1", "nothing.mp4 3"]
    (root / "lists" / "train.txt").write_text("\n".join(lines) + "\n")
    return root


UNREADABLE = {"run/empty.mp4", "run/text.avi", "run/torn.mp4"}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "source")


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Does the work of child processes in this process, one task after the other."""

    def serially(
        work: Callable[[Any, Callable[[], None]], Any], tasks: Sequence[Any], *, num_processes: int, limit_s: float
    ) -> Iterator[tuple[int, Any]]:
        yield from ((number, work(task, lambda: None)) for number, task in enumerate(tasks))

    replace_children(monkeypatch, serially)


def replace_children(monkeypatch: pytest.MonkeyPatch, children: Callable[..., Iterator[tuple[int, Any]]]) -> None:
    """Lets `children` do the work of child processes."""
    for module in (packing, prepare):
        monkeypatch.setattr(module, "run_in_children", children)


def packed(source: Path, folder: Path, settings: PackSettings, **options: Any) -> PackResult:
    return pack(plan_pack(str(source), folder, settings, **options))


def files_of(folder: Path) -> dict[str, bytes]:
    """Content of every file by its path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def same_pictures(frames: np.ndarray, wanted: np.ndarray) -> bool:
    """Tells whether every frame is more similar to the expected frame at its place than to any other."""
    if frames.shape != wanted.shape:
        return False
    differences = np.array([[np.abs(one.astype(float) - other).mean() for other in wanted] for one in frames])
    return bool((differences.argmin(axis=1) == np.arange(len(wanted))).all() and differences.diagonal().max() < 24)
