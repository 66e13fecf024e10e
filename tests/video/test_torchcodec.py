import sys
from pathlib import Path

import numpy as np
import pytest

from kinema.errors import ConfigError, DecodeError
from kinema.video.reader import open_video
from tests.video.encode import encode, moving_frames, rotate_clockwise


def _runs_here() -> bool:
    try:
        import torchcodec.decoders  # noqa: F401
    except (ImportError, OSError, RuntimeError):
        return False
    return True


needs_torchcodec = pytest.mark.skipif(not _runs_here(), reason="torchcodec, or an FFmpeg for it, is absent")


def test_without_torchcodec_one_line_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    path = encode(tmp_path / "a.mp4", moving_frames(5, 48, 64))
    with pytest.raises(ConfigError, match=r"torchcodec cannot be used: .*install torchcodec and an FFmpeg") as caught:
        open_video(path, decoder="torchcodec")
    assert "\n" not in str(caught.value)


def test_pyav_reads_unless_torchcodec_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    frames = moving_frames(5, 48, 64)
    assert open_video(encode(tmp_path / "a.mp4", frames)).num_frames == 5
    assert np.array_equal(open_video(frames, decoder="torchcodec").frames([2])[0], frames[2])  # decodes no file


@needs_torchcodec
def test_both_decoders_give_the_same_frames(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", moving_frames(60, 48, 64), gop=12, b_frames=3)
    rotate_clockwise(path)
    with open_video(path) as one, open_video(path, decoder="torchcodec", num_threads=1) as other:
        assert (one.num_frames, one.height, one.width) == (other.num_frames, other.height, other.width)
        assert one.fps == pytest.approx(other.fps)
        assert np.array_equal(one.frames([40, 3, 3, 17]), other.frames([40, 3, 3, 17]))
        np.testing.assert_allclose(one.times_s([40, 3, 59]), other.times_s([40, 3, 59]), atol=1e-6)
        assert all(np.array_equal(*pair) for pair in zip(one, other, strict=True))
    np.testing.assert_allclose(open_video(path, decoder="torchcodec", fps=10).times_s([5]), [0.5])


@needs_torchcodec
def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(DecodeError, match=r"a\.mp4"):
        open_video(tmp_path / "a.mp4", decoder="torchcodec")
