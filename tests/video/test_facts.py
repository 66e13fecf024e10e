"""What files say of themselves, also where reading them means opening them anew."""

from contextlib import closing
from fractions import Fraction
from pathlib import Path

from kinema.video.container import ContainerReader
from kinema.video.facts import stream_facts
from tests.realdata import real_data
from tests.video.encode import encode, moving_frames, rotate_clockwise


def test_facts(tmp_path: Path) -> None:
    path = rotate_clockwise(encode(tmp_path / "a.mp4", moving_frames(30, 48, 64), gop=10, pix_fmt="yuv444p"))
    with closing(ContainerReader(path)) as video:
        facts = stream_facts(video)
        assert len(list(video)) == 30, "the reader goes on as before"
    assert (facts.codec, facts.pixel_format, facts.pixel_aspect) == ("h264", "yuv444p", 1)
    assert (facts.rotation, facts.stated_frames, facts.keyframes) == (90, 30, (0, 10, 20))


def test_keyframes_among_frames_that_are_shown_in_another_order(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mkv", moving_frames(30, 48, 64), gop=10, b_frames=2)
    with closing(ContainerReader(path)) as video:
        facts = stream_facts(video)
        assert facts.stated_frames is None
        assert facts.keyframes[0] == 0
        assert len(facts.keyframes) == 3


def test_real_files() -> None:
    with closing(ContainerReader(real_data("videos", "other", "demo.mp4"))) as video:
        assert stream_facts(video).pixel_aspect == Fraction(64, 51)
    for path in sorted(real_data("ucf101", "videos", "BabyCrawling").glob("*_g01_*.avi")):
        with closing(ContainerReader(path, num_threads=1)) as video:
            assert stream_facts(video).pixel_aspect == Fraction(4096, 4083)
