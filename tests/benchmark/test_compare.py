"""Networks side by side, and beside what papers report."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from kinema.benchmark.benchmark_run import open_task, run
from kinema.benchmark.compare import compare
from kinema.benchmark.published import published_rows
from kinema.weights.load import load
from tests.labeling.test_propagate_video import PROTOCOL


def test_each_network_in_its_folder_and_published_rows_beside(sets: Path, tmp_path: Path) -> None:
    task = open_task("jhmdb", sets / "jhmdb", replace(PROTOCOL, benchmark="jhmdb"))
    loaded: list[str] = []

    def count(name: str) -> object:
        loaded.append(name)
        return load(name)

    networks = ["pixels:4", "pixels:8"]
    compared = compare(task, networks, count, tmp_path / "out")  # type: ignore[arg-type]
    measured = [row for row in compared.rows if row.origin == "measured here"]
    assert [row.method for row in measured] == networks == loaded
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["compare.json", "pixels-4", "pixels-8"]
    alone = run(task, load("pixels:8"), tmp_path / "alone")
    assert measured[1].values == alone.summary
    published = [row for row in compared.rows if row.origin == "published"]
    siammae = [row for row in published if row.method.startswith("SiamMAE ViT-S/8")]
    assert siammae[0].values == {"PCK@0.1": pytest.approx(0.619), "PCK@0.2": pytest.approx(0.838)}
    assert sum(len(row.values) for row in published) == len(published_rows("jhmdb"))
    assert json.loads((tmp_path / "out" / "compare.json").read_text()) == json.loads(json.dumps(compared.as_json()))
    assert len(compared.warnings) == 1
    assert "measured here under small" in compared.warnings[0]
    assert "siammae" in compared.warnings[0]


def test_a_finished_network_is_not_run_again(sets: Path, tmp_path: Path) -> None:
    task = open_task("davis", sets / "davis", PROTOCOL, split="train", sequences=["clip-0001"])
    first = compare(task, ["pixels:8"], load, tmp_path / "out")
    told: list[str] = []
    more = compare(task, ["pixels:8", "pixels:16"], load, tmp_path / "out", report=lambda what, *_: told.append(what))
    assert more.rows[0] == first.rows[0]
    assert {what.split(": ")[0] for what in told} == {"pixels:16"}
    assert any("measured here on train, published on val" in warning for warning in more.warnings)
