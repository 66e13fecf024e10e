import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import PictureType

from kinema.tools.packing.encode import encode_h264
from kinema.tools.packing.pack_config import PackSettings
from tests.tools.packing.sources import same_pictures
from tests.video.encode import moving_frames

SETTINGS = PackSettings(form="h264", short_side=32)


def stamps(path: Path) -> list[tuple[int, bool, str]]:
    """Returns (time in milliseconds, whether it is a keyframe, picture type) of each decoded frame."""
    with av.open(str(path)) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        return [
            (round(float(frame.pts * frame.time_base) * 1000), bool(frame.key_frame), PictureType(frame.pict_type).name)
            for frame in container.decode(video=0)
        ]


def test_keyframes_every_few_frames_and_no_b_frames(tmp_path: Path) -> None:
    frames = moving_frames(30, 32, 48)
    written = encode_h264(tmp_path / "a.mp4", frames, replace(SETTINGS, gop=7), fps=25.0)
    assert written == (30, 32, 48)
    found = stamps(tmp_path / "a.mp4")
    assert [at for at, (_, is_key, _) in enumerate(found) if is_key] == [0, 7, 14, 21, 28]
    assert {kind for _, _, kind in found} == {"I", "P"}
    assert [time_ms for time_ms, _, _ in found] == [40 * number for number in range(30)]
    with av.open(str(tmp_path / "a.mp4")) as container:
        decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
        assert container.streams.video[0].average_rate == 25
    assert same_pictures(decoded, frames)


def test_uneven_and_equal_times_are_kept(tmp_path: Path) -> None:
    times_s = np.array([0.0, 0.04, 0.04, 0.5, 3.25])
    encode_h264(tmp_path / "a.mp4", moving_frames(5, 32, 32), SETTINGS, fps=1.5, times_s=times_s)
    assert [time_ms for time_ms, _, _ in stamps(tmp_path / "a.mp4")] == [0, 40, 40, 500, 3250]


def test_quality_costs_bytes() -> None:
    sizes = []
    for crf in (15, 25, 35):
        memory = io.BytesIO()
        encode_h264(memory, moving_frames(12, 64, 64), replace(SETTINGS, crf=crf), fps=30.0)
        sizes.append(len(memory.getbuffer()))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 1.3 * sizes[2]


def test_no_frames_give_no_video() -> None:
    assert encode_h264(io.BytesIO(), [], SETTINGS, fps=30.0) == (0, 0, 0)


_SAME_WHATEVER_MEMORY_HOLDS = """
import ctypes, hashlib, io, sys
from kinema.tools.packing.encode import encode_h264
from kinema.tools.packing.pack_config import PackSettings
from tests.video.encode import moving_frames
mallopt = ctypes.CDLL("libc.so.6").mallopt
mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD: large pieces, too, come from memory that was used before
digests = set()
frames = moving_frames(14, 240, 320)
for filling in (0, 1, 85, 170, 255, 0):
    mallopt(-6, filling)  # M_PERTURB: what memory holds that nobody wrote to
    memory = io.BytesIO()
    encode_h264(memory, frames, PackSettings(form="h264"), fps=30.0)
    digests.add(hashlib.sha256(memory.getvalue()).hexdigest())
print(len(digests))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_the_same_frames_give_the_same_bytes() -> None:
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", _SAME_WHATEVER_MEMORY_HOLDS], cwd=root, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("1", "")
