"""`kinema benchmark` and `kinema score` as they are typed, on small sets in the layouts of all four."""

import json
from pathlib import Path

import numpy as np
import pytest

from kinema.tools.synthetic.scene import Difficulty, SceneConfig
from kinema.tools.synthetic.write import write_set
from tests.cli.conftest import IMAGENET_PIXELS, SMALL, Command

ROOTS = {"davis": "davis", "ytvos": "youtube_vos", "vip": "vip", "jhmdb": "jhmdb"}
NETWORK = "untrained:tiny/16@0"


@pytest.fixture(scope="session")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmarks") / "sets"
    scene = SceneConfig(height=48, width=80, num_frames=6, difficulty=Difficulty(num_objects=2))
    write_set(folder, clips=2, seed=0, config=scene)
    return folder


def typed(sets: Path, benchmark: str, *options: object) -> tuple[object, ...]:
    return ("benchmark", benchmark, "--root", sets / ROOTS[benchmark], *SMALL, *options)


@pytest.mark.parametrize("benchmark", ROOTS)
def test_a_benchmark_and_its_score(kinema: Command, sets: Path, tmp_path: Path, benchmark: str) -> None:
    out = tmp_path / "out"
    done = kinema(*typed(sets, benchmark, "--weights", NETWORK, "--out", out, "--json"))
    assert done.code == 0, done.err
    assert done.answer.keys() >= {"summary", "rows", "protocol", "weights", "versions"}
    assert done.answer["protocol"]["benchmark"] == benchmark
    assert done.answer["weights"] == {"source": NETWORK, "sha256": None, **IMAGENET_PIXELS}
    scored = kinema("score", benchmark, "--root", sets / ROOTS[benchmark], "--results", out, "--json").answer
    assert (scored.pop("rows"), scored) == (done.answer["rows"], done.answer["summary"])
    said = kinema("score", benchmark, "--root", sets / ROOTS[benchmark], "--results", out).out
    name, value = next(iter(scored.items()))
    assert f"{name} {100 * value:.1f}" in said
    assert "sequence" in said.splitlines()[0]


def test_several_networks_beside_published_rows(kinema: Command, sets: Path, tmp_path: Path) -> None:
    options = ("--compare", NETWORK, "pixels:16", "--out", tmp_path / "out")
    done = kinema(*typed(sets, "davis", *options))
    assert done.code == 0, done.err
    first, *lines = done.out.splitlines()
    assert first.split() == ["network", "J&F-Mean", "J-Mean", "F-Mean", "protocol"]
    assert [line.split()[0] for line in lines[:2]] == [NETWORK, "pixels:16"]
    assert all("measured here" in line and "dino_480p features.size" in line for line in lines[:2])
    siammae = next(line for line in lines if line.startswith("SiamMAE ViT-S/8"))
    assert siammae.split()[-6:] == ["Kinetics-400", "71.4", "68.4", "74.5", "published", "siammae"]
    assert any(line.startswith("warning: not comparable") for line in lines)
    again = kinema(*typed(sets, "davis", *options, "--json"))
    assert [row["values"] for row in again.answer["rows"][:2]] == [
        json.loads((tmp_path / "out" / name / "result.json").read_text())["summary"]
        for name in ("untrained-tiny-16-0", "pixels-16")
    ]


def test_a_sweep(kinema: Command, sets: Path, tmp_path: Path) -> None:
    grid = ("--grid.top-k", 1, 5, "--grid.radius", 2, "--grid.temperature", 0.1, 0.7, "--grid.context", 2)
    done = kinema(*typed(sets, "davis", "--weights", "pixels:16", "--sweep", *grid, "--out", tmp_path / "out"))
    assert done.code == 0, done.err
    assert "best 4 of 4 settings" in done.out
    assert "spread of J&F-Mean as one dial of the chosen setting turns: top_k" in done.out
    (chosen,) = [line for line in done.out.splitlines() if line.startswith("chosen on train: ")]
    options = chosen.removeprefix("chosen on train: ").split()
    assert options[:2] == ["--protocol", "dino_480p"]
    again = ("benchmark", "davis", "--root", sets / "davis", "--set", "train", "--weights", "pixels:16", *options)
    measured = kinema(*again, "--out", tmp_path / "again", "--json").answer["summary"]
    best = json.loads((tmp_path / "out" / "sweep.json").read_text())["rows"][0]["summary"]
    assert measured == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--weights", "pixels:16", "--compare", "pixels:4"), 2, ["both --weights and --compare"]),
        (("--compare", "pixels:4", "--sweep"), 2, ["--sweep with --compare"]),
        (("--weights", "pixels:16", "--grid.top-k", "7"), 2, ["without --sweep"]),
        (("--weights", "pixels:16", "--tune-on-val"), 2, ["without --sweep"]),
        (("--weights", "pixels:16", "--sweep", "--set", "val"), 2, ["chosen on 'val'", "--tune-on-val"]),
        (("--weights", "pixels:16", "--fold", 2), 2, ["--fold is for jhmdb"]),
        (("--weights", "pixels:16", "--unseen", "dog"), 2, ["--unseen is for ytvos"]),
        (("--weights", "pixels:16", "--set", "test"), 3, ["no list 'test'", "choose from train, val"]),
    ],
)
def test_what_cannot_be_asked(
    kinema: Command, sets: Path, tmp_path: Path, options: tuple, code: int, words: list[str]
) -> None:
    kinema(*typed(sets, "davis", "--out", tmp_path / "out", *options)).require_error(code, *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("benchmark", ROOTS)
def test_the_root_of_another_benchmark(kinema: Command, sets: Path, tmp_path: Path, benchmark: str) -> None:
    other = {"davis": "ytvos", "ytvos": "vip", "vip": "jhmdb", "jhmdb": "davis"}[benchmark]
    common = (benchmark, "--root", sets / ROOTS[other])
    for command in (
        ("benchmark", *common, "--weights", "pixels:16", "--out", tmp_path / "out"),
        ("score", *common, "--results", tmp_path),
    ):
        kinema(*command).require_error(3, "looks like", f"called {other} here")
    kinema("score", benchmark, "--root", sets, "--results", tmp_path).require_error(3, f"its folder {ROOTS[benchmark]}")


def test_score_of_arrays_of_joints(kinema: Command, sets: Path, tmp_path: Path) -> None:
    from kinema.datasets.jhmdb import read_clips

    root = sets / "jhmdb"
    np.savez(tmp_path / "all.npz", **{clip.name: clip.points.transpose(2, 1, 0) for clip in read_clips(root)})
    scored = kinema("score", "jhmdb", "--root", root, "--results", tmp_path / "all.npz", "--json").answer
    assert scored["PCK@0.1"] == 1.0
    done = kinema("score", "jhmdb", "--root", root, "--results", tmp_path / "all.npz", "--scoring-size", 4, 4)
    done.require_error(2, "--scoring-size is for davis, ytvos, vip")
