import os
from pathlib import Path

import av
import numpy as np
import pytest

from kinema.errors import ConfigError, DatasetError
from kinema.video.writer import write_video
from tests.video.encode import moving_frames


def test_a_video_comes_back(tmp_path: Path) -> None:
    rows, columns, times = np.mgrid[:48, :64, :20]
    frames = np.stack([rows * 4, columns * 3, times * 10], axis=-1).astype(np.uint8).transpose(2, 0, 1, 3)
    assert write_video(tmp_path / "a.mp4", iter(frames), 12.5) == 20
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert float(stream.average_rate or 0) == 12.5
        back = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])
    assert back.shape == frames.shape
    assert np.abs(back.astype(int) - frames).mean() < 4
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_odd_sides_repeat_the_edge(tmp_path: Path) -> None:
    frames = np.full((3, 31, 45, 3), 200, np.uint8)
    write_video(tmp_path / "a.mp4", frames, 30)
    with av.open(str(tmp_path / "a.mp4")) as container:
        back = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert back.shape == (32, 46, 3)
    assert np.abs(back.astype(int) - 200).max() < 6


def test_frames_are_taken_one_by_one(tmp_path: Path) -> None:
    alive = 0
    most = 0

    class Frame(np.ndarray):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def stream():
        nonlocal alive, most
        for frame in moving_frames(40, 16, 16):
            alive += 1
            most = max(most, alive)
            yield frame.view(Frame)

    write_video(tmp_path / "a.mp4", stream(), 30)
    assert most < 20


def test_what_fails_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("old")
    frames = [np.zeros((16, 16, 3), np.uint8), np.zeros((18, 16, 3), np.uint8)]
    with pytest.raises(DatasetError, match=r"frame 1 is 16 × 18 pixels.*a\.mp4"):
        write_video(tmp_path / "a.mp4", frames, 30)
    with pytest.raises(DatasetError, match="no frames"):
        write_video(tmp_path / "a.mp4", [], 30)
    with pytest.raises(ConfigError, match="fps"):
        write_video(tmp_path / "a.mp4", frames, 0)
    assert (tmp_path / "a.mp4").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.mp4"]
