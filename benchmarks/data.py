"""Compares readers of raw and packed video by frame pairs and clips per second on one core; measures memory over time.

    python benchmarks/data.py speed --videos $DATA/videos --work /tmp/kinema_data
    python benchmarks/data.py memory --data $DATA/pretrain.txt --samples 20000

`speed` makes a 1080p clip (300 frames at 30 fps, a mosaic of sixteen videos, x264's defaults, one keyframe in 250
frames) and packs it and the small videos in both forms into the work folder. Then all readers in turn open the file and
return the same frames, in one run. It counts the CPU time of all threads on one core, so that other work on the machine
matters little. decord, torchcodec and OpenCV take part if they can be imported. `memory` draws samples as training does
and prints the memory of the process and its workers along the way.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from kinema.datasets.data_config import DataConfig
from kinema.datasets.loader import Loader
from kinema.datasets.media import MediaDataset, open_item
from kinema.datasets.scan import MediaItem, scan
from kinema.files import replacing
from kinema.tools.packing.pack import pack
from kinema.tools.packing.pack_config import PackSettings
from kinema.tools.packing.prepare import plan_pack
from kinema.types import ClipSpec
from kinema.video.base import Decoder
from kinema.video.reader import open_video
from kinema.video.sampling import Clips, FramePairs

NUM_FRAMES, FPS, GRID = 300, 30, 4
KINDS = {"pair": FramePairs(), "clip": Clips(num_frames=16, stride=4)}
REPEATS = 4
Read = Callable[[Path, list[tuple[int, ...]]], object]
"""Opens a file and reads the frames of each draw."""


@dataclass(frozen=True)
class Video:
    """A raw video and its packed versions."""

    path: Path
    num_frames: int
    fps: float
    packed: dict[str, MediaItem]


def main() -> None:
    """Runs one of the two commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    speed = commands.add_parser("speed")
    speed.add_argument("--videos", type=Path, required=True, help="a folder of small videos")
    speed.add_argument(
        "--work", type=Path, required=True, help="folder for the 1080p clip and the packs, which are kept"
    )
    speed.add_argument("--rounds", type=int, default=2, help="draws from every small video")
    memory = commands.add_parser("memory")
    memory.add_argument("--data", nargs="+", required=True)
    memory.add_argument("--samples", type=int, default=20_000)
    memory.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.command == "memory":
        _measure_memory(arguments.data, arguments.samples, arguments.workers)
    else:
        _measure_speed(arguments.videos, arguments.work, arguments.rounds)


def _measure_speed(videos: Path, work: Path, rounds: int) -> None:
    skipped = [videos / name for name in ("broken", "odd") if (videos / name).exists()]
    small = [item.path for item in scan([videos], exclude=skipped) if item.kind == "video"]
    large = work / "large" / "mosaic_1080p.mp4"
    large.parent.mkdir(parents=True, exist_ok=True)
    if not large.exists():
        _make_mosaic([Path(path) for path in small[: GRID * GRID]], large)
    sets = {
        "small": _list_packed(videos, work / "packs" / "small", skipped),
        "1080p": _list_packed(large.parent, work / "packs" / "large", []),
    }
    readers = dict(_iterate_readers())
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cpu_ms = {
        (name, kind): _measure(found, sampling, readers, rounds * max(10 // len(found), 1))
        for name, found in sets.items()
        for kind, sampling in KINDS.items()
    }
    _print_table(cpu_ms, readers, sets)


def _make_mosaic(sources: list[Path], out: Path) -> None:
    """Encodes a clip of 1920 × 1080 pixels with natural motion and detail, with x264's defaults."""
    import av

    with replacing(out) as beside, av.open(str(beside), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        stream.options = {
            "x264-params": "keyint=250:scenecut=0"
        }  # scene cuts in sixteen videos would add too many keyframes
        tiles = [_iterate_tile(path) for path in sources]
        for _ in range(NUM_FRAMES):
            shown = np.stack([next(tile) for tile in tiles]).reshape(GRID, GRID, 270, 480, 3)
            whole = np.ascontiguousarray(shown.transpose(0, 2, 1, 3, 4)).reshape(1080, 1920, 3)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(whole, format="rgb24")))
        container.mux(stream.encode(None))


def _iterate_tile(path: Path) -> Iterator[np.ndarray]:
    from PIL import Image

    while True:
        with open_video(path, num_threads=1) as video:
            for frame in video:
                yield np.asarray(Image.fromarray(frame).resize((480, 270), Image.Resampling.BICUBIC))


def _list_packed(source: Path, folder: Path, exclude: list[Path]) -> list[Video]:
    """Lists the videos of a folder, packing them in both forms if needed."""
    found: dict[str, dict[str, MediaItem]] = {}
    for form in ("shards", "h264"):
        target = folder / form
        pack(plan_pack(str(source), target, PackSettings(form=form), exclude=exclude))
        for item in scan([target]):
            inside = item.entry.name if item.entry else str(Path(item.path).relative_to(target))
            found.setdefault(str(Path(inside).with_suffix("")), {})[form] = item
    videos = []
    for item in scan([source], exclude=exclude):
        packed = found[str(Path(item.path).relative_to(source).with_suffix(""))]
        with open_item(item) as video, open_item(packed["shards"]) as frames:
            assert video.num_frames == frames.num_frames
            videos.append(Video(Path(item.path), video.num_frames, video.fps, packed))
    return videos


def _iterate_readers() -> Iterator[tuple[str, Read]]:
    """Yields the available readers by name."""
    yield "kinema, raw files (PyAV)", partial(_read_with_kinema, decoder="pyav")
    try:
        import torchcodec.decoders  # noqa: F401

        yield "kinema, raw files (torchcodec)", partial(_read_with_kinema, decoder="torchcodec")
        yield "torchcodec", _read_with_torchcodec
    except (ImportError, OSError, RuntimeError):
        print("torchcodec cannot be imported, or finds no FFmpeg")
    try:
        import decord  # noqa: F401

        yield "decord", _read_with_decord
    except (ImportError, OSError):
        print("decord cannot be imported: no ratios")
    yield "OpenCV", _read_with_opencv


def _read_with_kinema(path: Path, draws: list[tuple[int, ...]], *, decoder: Decoder) -> None:
    with open_video(path, num_threads=1, decoder=decoder) as video:
        video.frames(np.unique(np.array(draws)))


def _read_with_torchcodec(path: Path, draws: list[tuple[int, ...]]) -> None:
    from torchcodec.decoders import VideoDecoder

    VideoDecoder(path, num_ffmpeg_threads=1).get_frames_at(sorted({frame for draw in draws for frame in draw}))


def _read_with_decord(path: Path, draws: list[tuple[int, ...]]) -> None:
    import decord

    decord.VideoReader(str(path), num_threads=1).get_batch([frame for draw in draws for frame in draw]).asnumpy()


def _read_with_opencv(path: Path, draws: list[tuple[int, ...]]) -> None:
    import cv2

    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    for draw in draws:
        video.set(cv2.CAP_PROP_POS_FRAMES, draw[0])
        for before, frame in zip((draw[0] - 1, *draw), draw, strict=False):
            for _ in range(frame - before - 1):
                video.grab()
            video.read()
    video.release()


def _measure(videos: list[Video], sampling: FramePairs | Clips, readers: dict[str, Read], rounds: int) -> dict:
    """Measures mean CPU milliseconds per draw of each reader; all read the same frames in turn."""
    spent_s: dict[str, float] = {}

    def timed(name: str, read: Callable[[], object], draws: int) -> None:
        started = time.process_time()
        read()
        spent_s[name] = spent_s.get(name, 0.0) + (time.process_time() - started) / draws

    rng = np.random.default_rng(0)
    for _ in range(rounds):
        for video in videos:
            draws = [sampling.sample(rng, num_frames=video.num_frames, fps=video.fps) for _ in range(REPEATS)]
            for name, read in readers.items():
                timed(name, partial(read, video.path, draws[:1]), 1)
            timed("four draws", partial(_read_with_kinema, video.path, draws, decoder="pyav"), REPEATS)
            for form, item in video.packed.items():
                timed(form, partial(_read_item, item, draws[0]), 1)
    return {name: 1000 * total / (rounds * len(videos)) for name, total in spent_s.items()}


def _read_item(item: MediaItem, draw: tuple[int, ...]) -> None:
    with open_item(item) as video:
        video.frames(np.unique(draw))


def _print_table(cpu_ms: dict, readers: dict[str, Read], sets: dict[str, list[Video]]) -> None:
    names = {name: name for name in readers}
    names["four draws"] = f"kinema, raw files, {REPEATS} draws from one pass"
    names |= {"h264": "kinema pack --form h264", "shards": "kinema pack --form shards"}
    columns = [f"{kind}s/s, {name} | × decord" for name, kind in cpu_ms]
    print(f"\n| reader | {' | '.join(columns)} | MB, small | MB, 1080p |")
    print("|---" * (2 * len(columns) + 3) + "|")
    for key, shown in names.items():
        cells = []
        for measured in cpu_ms.values():
            ratio = f"{measured['decord'] / measured[key]:.1f}" if "decord" in measured else "-"
            cells.append(f"{1000 / measured[key]:.1f} | {ratio}")
        disk = [f"{_count_disk_bytes(videos, key) / 1e6:.1f}" for videos in sets.values()]
        print(f"| {shown} | {' | '.join(cells + disk)} |")
    for name, videos in sets.items():
        print(f"{name}: {len(videos)} videos, {sum(video.num_frames for video in videos)} frames")


def _count_disk_bytes(videos: list[Video], form: str) -> int:
    if form not in videos[0].packed:
        return sum(video.path.stat().st_size for video in videos)
    item = videos[0].packed[form]
    root = Path(item.path) if item.entry else next(p for p in Path(item.path).parents if (p / "pack.json").exists())
    return sum(file.stat().st_size for file in root.rglob("*") if file.is_file())


def _measure_memory(sources: list[str], samples: int, workers: int) -> None:
    clip = ClipSpec(num_frames=2, height=112, width=112)
    dataset = MediaDataset(scan(sources), data=DataConfig(repeats=1), clip=clip, seed=0)
    batches = iter(Loader(dataset, batch_size=10, num_workers=workers))
    print(f"{len(dataset)} files, {workers} workers\nsamples  MB held")
    for done in range(0, samples + 1, samples // 20):
        print(f"{done:7d}  {_read_resident_bytes() / 1e6:.1f}", flush=True)
        for _ in islice(batches, samples // 20 // 10):
            pass


def _read_resident_bytes() -> int:
    """Reads the resident memory of this process and its children."""
    ids = [
        "self",
        *(child for path in Path("/proc/self/task").glob("*/children") for child in path.read_text().split()),
    ]
    return sum(int(Path("/proc", pid, "statm").read_text().split()[1]) for pid in ids) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
