"""The DAVIS benchmark as a whole: what is written, what goes on, and the summary without files."""

from dataclasses import replace
from pathlib import Path

import pytest

from kinema.benchmark.davis import benchmark_davis, davis_scores
from kinema.datasets.davis import read_sequences
from kinema.errors import ConfigError, DatasetError
from kinema.layouts import DavisLayout
from kinema.pipeline.load import load
from kinema.video.masks import write_mask
from tests.pipeline.small import square, write_davis
from tests.pipeline.test_propagate import PROTOCOL


@pytest.fixture
def layout(tmp_path: Path) -> DavisLayout:
    """A root with two sequences."""
    layout = write_davis(tmp_path / "set", clips=8)
    assert len(layout.sequences("val")) == 2
    return layout


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.png")}


def test_the_summary_with_nothing_written_is_that_of_the_files(layout: DavisLayout, tmp_path: Path) -> None:
    extractor = load("pixels:4")
    result = benchmark_davis(layout.root, extractor, PROTOCOL, tmp_path / "out")
    summary = davis_scores(read_sequences(layout.root), extractor, PROTOCOL)
    assert summary == pytest.approx(result.summary, abs=1e-12)
    assert 0.1 < summary["J&F-Mean"] < 1


def test_the_summary_refuses_what_cannot_be_scored(layout: DavisLayout) -> None:
    name = layout.sequences("val")[0]
    write_mask(layout.mask_file(name, 0), square() * 0)
    with pytest.raises(DatasetError, match="no object"):
        davis_scores(read_sequences(layout.root), load("pixels:4"), PROTOCOL)


def test_an_interrupted_benchmark_goes_on(layout: DavisLayout, tmp_path: Path) -> None:
    extractor, (first, second) = load("pixels:4"), layout.sequences("val")
    whole = benchmark_davis(layout.root, extractor, PROTOCOL, tmp_path / "whole")

    def interrupt(name: str, done: int, total: int) -> None:
        if name == second:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        benchmark_davis(layout.root, extractor, PROTOCOL, out, report=interrupt)
    assert sorted(path.name for path in out.iterdir()) == [first, "request.json"]
    for other in (
        {"protocol": replace(PROTOCOL, name="other")},
        {"extractor": load("pixels:8")},
        {"sequences": [second]},
    ):
        with pytest.raises(ConfigError, match="not empty"):
            benchmark_davis(**{"root": layout.root, "extractor": extractor, "protocol": PROTOCOL, "out": out, **other})
    (out / f".{second}.partial").mkdir()  # as a killed process leaves it
    kept, told = (out / first).stat().st_mtime_ns, []
    result = benchmark_davis(layout.root, extractor, PROTOCOL, out, report=lambda *said: told.append(said))
    assert told == [(first, 5, 10), *((second, done, 10) for done in range(6, 11))]
    assert (out / first).stat().st_mtime_ns == kept
    assert (result.summary, result.rows) == (whole.summary, whole.rows)
    assert files(out) == files(tmp_path / "whole")
    assert sorted(path.name for path in out.iterdir()) == [first, second, "request.json", "result.json"]
    with pytest.raises(ConfigError, match="not empty"):
        benchmark_davis(layout.root, extractor, PROTOCOL, out)


def test_nothing_is_left_where_the_first_sequence_fails(layout: DavisLayout, tmp_path: Path) -> None:
    layout.frame_file(layout.sequences("val")[0], 2).write_bytes(b"torn")
    with pytest.raises(DatasetError, match="unreadable image"):
        benchmark_davis(layout.root, load("pixels:4"), PROTOCOL, tmp_path / "out")
    assert not (tmp_path / "out").exists()
