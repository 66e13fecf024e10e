"""Summaries of records."""

from dataclasses import replace

import pytest

from kinema.datasets.manifest import FileRecord
from kinema.tools.doctor.summary import Mention, summarize
from kinema.video.sampling import Clips, FramePairs, Sampling

PLAIN = FileRecord(
    path="/data/x/a.mp4",
    kind="video",
    size_bytes=1000,
    modified_ns=1,
    checked="full",
    num_frames=60,
    fps=30.0,
    height=240,
    width=320,
    keyframes=(0, 30),
    pixel_format="yuv420p",
)


def test_amounts_count_usable_files() -> None:
    tall = replace(PLAIN, path="/data/y/b.mp4", height=480, width=360, keyframes=(0,), num_frames=90)
    lost = replace(PLAIN, path="/data/x/c.mp4", problem="damaged", reason="frame 3 of 60 is damaged")
    folder = replace(PLAIN, path="/data/frames", kind="frames", keyframes=(), pixel_format=None)
    summary = summarize([PLAIN, tall, lost, folder], None)
    assert (summary.folder, summary.files, summary.unusable) == ("/data/", 4, 1)
    assert (summary.size_bytes, summary.frames, summary.duration_s) == (4000, 210, 7.0)
    assert summary.sizes == ((320, 240), (360, 480))
    assert summary.keyframe_interval == 60.0
    assert summary.problems == {"damaged": [Mention("/data/x/c.mp4", "frame 3 of 60 is damaged")]}
    assert summary.notes == {}
    assert summary.as_json()["problems"] == {"damaged": [{"path": "/data/x/c.mp4", "text": "frame 3 of 60 is damaged"}]}


def test_every_kind_of_note() -> None:
    records = [
        replace(PLAIN, duplicate_of="/data/first.mp4"),
        replace(PLAIN, is_variable_rate=True, fps=23.97602),
        replace(PLAIN, rotation=270),
        replace(PLAIN, pixel_aspect="4:3"),
        replace(PLAIN, width=321),
        replace(PLAIN, pixel_format="yuv420p10le"),
        replace(PLAIN, num_frames=1),
        replace(PLAIN, num_frames=1, kind="image"),
    ]
    texts = {kind: [mention.text for mention in mentions] for kind, mentions in summarize(records, None).notes.items()}
    assert texts == {
        "too short": ["1 of 2 frames"],
        "duplicate": ["of /data/first.mp4"],
        "variable rate": ["24 fps on average"],
        "rotated": ["270°"],
        "non-square pixels": ["4:3"],
        "odd size": ["321 × 240"],
        "pixel format": ["yuv420p10le"],
    }


def test_unusable_files_are_not_noted_again() -> None:
    summary = summarize([replace(PLAIN, problem="truncated", rotation=90, num_frames=1)], None)
    assert (summary.notes, summary.sizes, summary.keyframe_interval) == ({}, (), None)


@pytest.mark.parametrize(
    ("sampling", "fps", "needed"),
    [
        (FramePairs(gap_min=4, gap_max=48), 30.0, 5),
        (FramePairs(gap_min=4, gap_max=48), 15.0, 3),
        (FramePairs(gap_min=4, gap_max=48, unit="frames"), 15.0, 5),
        (FramePairs(gap_min=0.5, gap_max=2, unit="seconds"), 24.0, 13),
        (FramePairs(gap_min=1, gap_max=2), 1.0, 2),
        (Clips(num_frames=16, stride=4), 15.0, 64),
        (Clips(num_frames=16, stride=4, unit="frames_at_30fps"), 15.0, 32),
    ],
)
def test_too_short_for_a_recipe(sampling: Sampling, fps: float, needed: int) -> None:
    assert sampling.frames_needed(fps) == needed
    short, enough = (replace(PLAIN, fps=fps, num_frames=count) for count in (needed - 1, needed))
    assert summarize([short, enough], sampling).notes == {
        "too short": [Mention(PLAIN.path, f"{needed - 1} of {needed} frames")]
    }


@pytest.mark.parametrize(
    ("paths", "folder"),
    [
        (["clips/a.mp4"], "clips/"),
        (["clips/a.mp4", "other/b.mp4"], ""),
        (["clips/a.mp4", "/root/b.mp4"], ""),
        (["/root/a.mp4", "/b.mp4"], "/"),
        (["s3://pack#a.mp4", "s3://pack#b.mp4"], ""),
        (["a.mp4"], ""),
    ],
)
def test_the_common_folder(paths: list[str], folder: str) -> None:
    assert summarize([replace(PLAIN, path=path) for path in paths], None).folder == folder
