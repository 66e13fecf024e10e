"""Damages real clips in many ways and reads each copy as training does; nothing may crash, hang or raise a wrong error.

    python benchmarks/fuzz.py --data $DATA/videos --copies 1000 --seed 0
    python benchmarks/fuzz.py --data $DATA/videos --seed 0 --only 417 --keep copies/      # repeat one copy

A copy is cut, or bytes are flipped, header fields set to extreme values, ranges filled with zeros, garbage added, or
parts swapped with another clip. MP4 clips are also damaged inside Matroska, MPEG-TS and fragmented MP4. A child process
with limited memory and time opens the copy and reads random frames, their times, and all frames in order. Each read has
to return frames or raise a KinemaError. Prints one line for each failure, then the counts; exits with 1 if there was a
failure.
"""

import argparse
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from kinema.datasets.scan import VIDEO_SUFFIXES
from kinema.errors import KinemaError
from kinema.tools.doctor.children import Beat, Lost, run_in_children
from kinema.video.base import VideoReader
from kinema.video.reader import open_video

WRAPPERS = {".mkv": {}, ".ts": {}, ".frag.mp4": {"movflags": "frag_keyframe+empty_moov"}}
EXTREMES = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\1", b"\0\0\xff\xff")
MEMORY = 6 * 2**30
READS = 3


@dataclass(frozen=True)
class Copy:
    """A damaged copy, determined by the clips, the seed and its number."""

    clips: tuple[Path, ...]
    seed: int
    number: int
    folder: Path
    limit_s: int
    """Limit of CPU seconds for reading it."""

    @property
    def path(self) -> Path:
        return self.folder / f"copy-{self.number:05d}{''.join(self.clip.suffixes[-2:])}"

    @property
    def clip(self) -> Path:
        return self.dice.choice(self.clips)

    @property
    def dice(self) -> random.Random:
        return random.Random(f"{self.seed} {self.number}")

    def write(self) -> str:
        """Writes the copy; returns a description of the damage."""
        dice = self.dice
        clip = dice.choice(self.clips)
        data, done = bytearray(clip.read_bytes()), []
        for damage in dice.choices(DAMAGES, k=dice.choice([1, 1, 1, 2, 3])):
            data = damage(data or bytearray(1), dice, self.clips)
            done.append(damage.__name__)
        self.path.write_bytes(data)
        return f"{clip.name}: {', '.join(done)}"


# ------------------------------------------------------------------------------------------------------------- damages


def cut(data: bytearray, dice: random.Random, _clips: Sequence[Path]) -> bytearray:
    return data[: dice.randrange(len(data) + 1)]


def flipped(data: bytearray, dice: random.Random, _clips: Sequence[Path]) -> bytearray:
    for _ in range(dice.choice([1, 10, 100, 1000])):
        data[dice.randrange(len(data))] = dice.randrange(256)
    return data


def flipped_header(data: bytearray, dice: random.Random, _clips: Sequence[Path]) -> bytearray:
    start, end = find_header(data)
    for _ in range(dice.choice([1, 3, 10, 50])):
        data[dice.randrange(start, end)] = dice.randrange(256)
    return data


def extreme_header(data: bytearray, dice: random.Random, _clips: Sequence[Path]) -> bytearray:
    start, end = find_header(data)
    for _ in range(dice.choice([1, 2, 5])):
        at = dice.randrange(start, end)
        data[at : at + 4] = dice.choice(EXTREMES)
    return data


def zeroed(data: bytearray, dice: random.Random, _clips: Sequence[Path]) -> bytearray:
    at = dice.randrange(len(data))
    length = min(dice.choice([4, 100, 3000, 50_000]), len(data) - at)
    data[at : at + length] = bytes(length)
    return data


def lengthened(data: bytearray, dice: random.Random, _clips: Sequence[Path]) -> bytearray:
    return data + dice.randbytes(dice.choice([1, 1000, 100_000]))


def preceded(data: bytearray, dice: random.Random, _clips: Sequence[Path]) -> bytearray:
    return bytearray(dice.randbytes(dice.choice([1, 16, 1000]))) + data


def pierced(data: bytearray, dice: random.Random, _clips: Sequence[Path]) -> bytearray:
    """Removes or inserts a few bytes."""
    at, length = dice.randrange(len(data)), dice.choice([1, 7, 1000])
    return data[:at] + data[at + length :] if dice.random() < 0.5 else data[:at] + dice.randbytes(length) + data[at:]


def swapped_start(data: bytearray, dice: random.Random, clips: Sequence[Path]) -> bytearray:
    other, length = dice.choice(clips).read_bytes(), dice.choice([32, 500, 5000, 50_000])
    return bytearray(other[:length]) + data[length:]


def swapped_box(data: bytearray, dice: random.Random, clips: Sequence[Path]) -> bytearray:
    """Replaces a part of an MP4, e.g. its index, with one of another clip, or shuffles the parts."""
    boxes, others = list(split_boxes(data)), list(split_boxes(bytearray(dice.choice(clips).read_bytes())))
    if dice.random() < 0.7:
        boxes[dice.randrange(len(boxes))] = dice.choice(others)
    else:
        dice.shuffle(boxes)
    return bytearray().join(boxes)


DAMAGES: tuple[Callable[[bytearray, random.Random, Sequence[Path]], bytearray], ...] = (
    cut,
    flipped,
    flipped_header,
    extreme_header,
    zeroed,
    lengthened,
    preceded,
    pierced,
    swapped_start,
    swapped_box,
)


def find_header(data: bytearray) -> tuple[int, int]:
    """Finds the bytes of an MP4's index; in other files, the start."""
    at = data.find(b"moov")
    return (
        (at, len(data) if at > len(data) // 2 else min(at + 20_000, len(data)))
        if at >= 0
        else (0, min(4000, len(data)))
    )


def split_boxes(data: bytearray) -> Iterator[bytearray]:
    """Yields the outermost boxes of an MP4, or the quarters of any other file."""
    if data[4:8] != b"ftyp":
        quarter = len(data) // 4 + 1
        yield from (data[at : at + quarter] for at in range(0, len(data), quarter))
        return
    at = 0
    while at < len(data):
        length = max(int.from_bytes(data[at : at + 4], "big"), 8)
        yield data[at : at + length]
        at += length


# ------------------------------------------------------------------------------------------------------------- reading


def read_copy(copy: Copy, _beat: Beat) -> tuple[str, str]:
    """Reads a copy; returns (outcome, damage). Any error other than a KinemaError ends the process."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    used_s = int(time.process_time())  # CPU time, so that a busy machine is not mistaken for a hang
    resource.setrlimit(resource.RLIMIT_CPU, (used_s + copy.limit_s + 1, resource.RLIM_INFINITY))
    done = copy.write()
    try:
        with open_video(copy.path, num_threads=1) as video:
            refusals = [reason for read in iterate_reads(video, copy.dice) if (reason := describe_refusal(read))]
    except KinemaError:
        return "refused", done
    return ("read in part" if refusals else "read"), done


def iterate_reads(video: VideoReader, dice: random.Random) -> Iterator[Callable[[], object]]:
    """Yields reads of random pairs and clips with their times, then of all frames in order."""
    assert video.num_frames > 0
    assert 0 < video.fps < float("inf"), video.fps
    for count in [2] * READS + [16]:
        indices = [dice.randrange(video.num_frames) for _ in range(count)]
        yield lambda indices=indices: check_frames(video.frames(indices), count=len(indices))
        times = video.times_s(sorted(indices))
        assert np.isfinite(times).all(), times
        assert (np.diff(times) >= 0).all(), times
    yield lambda: [check_frames(frame[None], count=1) for frame in video]


def check_frames(frames: np.ndarray, *, count: int) -> None:
    assert frames.dtype == np.uint8, frames.dtype
    assert (len(frames), frames.shape[3]) == (count, 3), frames.shape


def describe_refusal(read: Callable[[], object]) -> str:
    try:
        read()
    except KinemaError as fault:
        return str(fault)
    return ""


# ---------------------------------------------------------------------------------------------------------- campaign


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, required=True, help="a folder of clips; those in folders named broken are not used"
    )
    parser.add_argument("--copies", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="the number of the one copy to read")
    parser.add_argument("--keep", type=Path, help="a folder for the copies that failed")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--limit-s", type=int, default=60, help="CPU seconds per copy; the limit by the clock is ten times as long"
    )
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        clips = collect_clips(options.data, Path(scratch))
        numbers = range(options.copies) if options.only is None else [options.only]
        copies = [Copy(clips, options.seed, number, Path(scratch), options.limit_s) for number in numbers]
        print(f"{len(copies)} copies of {len(clips)} clips, seed {options.seed}", flush=True)
        return run_campaign(copies, options)


def collect_clips(data: Path, scratch: Path) -> tuple[Path, ...]:
    """Lists the clips, and copies of the MP4s that were moved to other containers without encoding."""
    found = [path for path in sorted(data.rglob("*")) if path.suffix in VIDEO_SUFFIXES and "broken" not in path.parts]
    wrapped = [
        change_container(path, scratch / f"{path.stem}{suffix}", options)
        for number, (suffix, options) in enumerate(WRAPPERS.items())
        for path in [path for path in found if path.suffix == ".mp4"][number :: 2 * len(WRAPPERS)]
    ]
    return (*found, *wrapped)


def change_container(source: Path, target: Path, options: dict[str, str]) -> Path:
    with av.open(str(source)) as given, av.open(str(target), "w", options=options) as made:
        stream = given.streams.video[0]
        copied = made.add_stream_from_template(stream)
        for packet in given.demux(stream):
            if packet.dts is not None:
                packet.stream = copied
                made.mux(packet)
    return target


def run_campaign(copies: Sequence[Copy], options: argparse.Namespace) -> int:
    """Prints failures as they occur and the counts; returns the exit code."""
    counts: Counter[str] = Counter()
    outcomes = run_in_children(read_copy, copies, num_processes=options.processes, limit_s=10.0 * options.limit_s)
    for done, (index, outcome) in enumerate(outcomes, start=1):
        copy = copies[index]
        if isinstance(outcome, Lost):
            counts[outcome.problem] += 1
            print(f"FAILED: copy {copy.number}: {outcome.reason}: again with --seed {copy.seed} --only {copy.number}")
            if options.keep is not None:
                options.keep.mkdir(parents=True, exist_ok=True)
                copy.path.replace(options.keep / copy.path.name)
        else:
            counts[outcome[0]] += 1
            if options.only is not None:
                print(f"{outcome[1]}: {outcome[0]}")
        copy.path.unlink(missing_ok=True)
        if done % 100 == 0:
            print(f"{done} of {len(copies)}: {format_counts(counts)}", flush=True)
    failures = counts["crash"] + counts["hang"]
    print(f"{len(copies)} copies: {format_counts(counts)}; {failures} failures")
    return int(bool(failures))


def format_counts(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.most_common())


if __name__ == "__main__":
    sys.exit(main())
