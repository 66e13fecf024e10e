import json

import pytest

from kinema.errors import DatasetError
from kinema.train.skips import SkippedFiles
from tests.train.tiny import tiny_skip


def _rows(folder):
    return [json.loads(line) for line in (folder / "skipped.jsonl").read_text().splitlines()]


def test_each_file_is_written_once_with_its_first_reason_and_its_count(tmp_path):
    skips = SkippedFiles(tmp_path, num_files=10, max_share=0.5)
    skips.add([tiny_skip("a.mp4", "cut short"), tiny_skip("b.mp4", "no frames")])
    skips.settle()
    skips.write()
    skips.add([tiny_skip("a.mp4", "gone")])
    skips.settle()
    assert _rows(tmp_path)[0]["count"] == 1  # not before it is written again
    skips.write()
    assert _rows(tmp_path) == [
        {"path": "a.mp4", "reason": "cut short", "count": 2},
        {"path": "b.mp4", "reason": "no frames", "count": 1},
    ]
    going_on = SkippedFiles(tmp_path, num_files=10, max_share=0.5)
    going_on.restore(_rows(tmp_path))
    going_on.add([tiny_skip("b.mp4", "no frames")])
    going_on.settle()
    going_on.write()
    assert [row["count"] for row in _rows(tmp_path)] == [2, 2]
    assert str(going_on) == "2 of 10 files unreadable: a.mp4, b.mp4"


def test_without_unreadable_files_nothing_is_written(tmp_path):
    (tmp_path / "skipped.jsonl").write_text("of a run that began anew")
    skips = SkippedFiles(tmp_path, num_files=10, max_share=0.0)
    skips.settle()
    skips.write()
    assert not list(tmp_path.iterdir())
    assert str(skips) == "0 of 10 files unreadable"


def test_the_share_is_of_distinct_files(tmp_path):
    skips = SkippedFiles(tmp_path, num_files=100, max_share=0.01)
    skips.add([tiny_skip("a.mp4", "cut short")] * 50)
    skips.settle()
    skips.add([tiny_skip("b.mp4", "no frames")])
    with pytest.raises(DatasetError, match=r"a\.mp4, b\.mp4, which is more than 1\.0%") as caught:
        skips.settle()
    assert caught.value.exit_code == 3
    assert len(_rows(tmp_path)) == 2
