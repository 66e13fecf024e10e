"""A sweep gives every setting the score that the benchmark gives it, from features computed once."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kinema.benchmark.benchmark_run import open_task, run
from kinema.benchmark.grid import SweepGrid
from kinema.benchmark.sweep import CachedFeatures, sweep
from kinema.errors import DatasetError
from kinema.features import FeatureExtractor
from kinema.weights.load import load
from tests.benchmark.conftest import ROOTS
from tests.labeling.test_propagate_video import PROTOCOL

SEQUENCES = {"davis": "clip-0001", "ytvos": "clip-0001", "vip": "videos2", "jhmdb": "walk/clip-0001"}
GRID = SweepGrid(top_k=(1, 5), radius=(2,), temperature=(0.1,), context=(), centered=(False, True))
NAMED = replace(PROTOCOL, name="dino_480p")


@pytest.mark.parametrize("name", ROOTS)
def test_settings_score_as_the_benchmark_scores_them(name: str, sets: Path, tmp_path: Path) -> None:
    extractor, protocol = load("pixels:4"), replace(NAMED, benchmark=name)
    where = {"split": "train", "sequences": [SEQUENCES[name]]}
    task = open_task(name, sets / ROOTS[name], protocol, **where)
    result = sweep(task, extractor, GRID, tmp_path / "sweep")
    assert (len(result.rows), result.split, result.sequences) == (4, "train", (SEQUENCES[name],))
    headlines = [row["summary"][result.headline] for row in result.rows]
    assert headlines == sorted(headlines, reverse=True)
    assert headlines[0] > headlines[-1]
    protocols = {tuple(dials.values()): chosen for dials, chosen in GRID.settings(protocol)}
    row = result.rows[-1]
    measured = run(
        open_task(name, sets / ROOTS[name], protocols[tuple(row["setting"].values())], **where),
        extractor,
        tmp_path / "run",
    )
    assert row["summary"] == pytest.approx(measured.summary, abs=1e-6)
    assert {row["dial"] for row in result.dials} == {"top_k", "centered"} == result.spread.keys()
    assert result.options.startswith("--protocol dino_480p --features.size.short-side 48")
    assert [path.name for path in (tmp_path / "sweep").iterdir()] == ["sweep.json"]
    assert json.loads((tmp_path / "sweep" / "sweep.json").read_text()) == json.loads(json.dumps(result.as_json()))


def test_the_network_sees_each_frame_once_for_each_layer(
    sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    network = load("untrained:tiny/16@0").backbone
    plain = type(network).dense

    def counted(self: object, frames: object, **options: object) -> object:
        seen.append((options["layer"], len(frames)))  # type: ignore[arg-type]
        return plain(self, frames, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(type(network), "dense", counted)
    extractor = load("untrained:tiny/16@0")
    protocol = replace(NAMED, features=replace(NAMED.features, size=replace(NAMED.features.size, multiple=16)))
    task = open_task("davis", sets / "davis", protocol, split="train", sequences=["clip-0000", "clip-0001"])
    grid = replace(GRID, layer=(2, 4), frame_stride=3)
    result = sweep(task, extractor, grid, tmp_path / "sweep")
    assert len(result.rows) == 8
    assert result.frame_stride == 3
    assert {layer: sum(count for at, count in seen if at == layer) for layer in (2, 4)} == {2: 2 * 4, 4: 2 * 4}


def test_cached_features_are_those_of_the_network(tmp_path: Path) -> None:
    extractor: FeatureExtractor = load("pixels:4").with_settings(PROTOCOL.features)
    frames = np.random.default_rng(0).integers(0, 256, (3, 48, 80, 3), dtype=np.uint8)
    cached = CachedFeatures.of(extractor, frames, 3, tmp_path / "features.npy")
    for centered in (False, True):
        settings = replace(PROTOCOL.features, centered=centered)
        assert cached.with_settings(settings).dense(frames * 0).equal(extractor.with_settings(settings).dense(frames))


def test_no_truth_is_nothing_to_tune_on(sets: Path, tmp_path: Path) -> None:
    task = open_task("davis", sets / "davis", PROTOCOL, split="train", sequences=["clip-0001"])
    task.items = [replace(item, mask_paths=item.mask_paths[:1]) for item in task.items]
    with pytest.raises(DatasetError, match="no true labels to tune on"):
        sweep(task, load("pixels:4"), GRID, tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()
