"""What a study measures of one network."""

from dataclasses import replace
from pathlib import Path

import pytest

from kinema.benchmark.run import run
from kinema.pipeline.load import load
from kinema.studies.evaluate import Evaluation, evaluations
from kinema.studies.settings import Evaluations
from kinema.synthetic.scene import Difficulty, SceneConfig
from kinema.synthetic.write import write_set

SETTINGS = Evaluations(protocol="ino_ytvos", layer=2, precision="fp32", unseen=("figure",))


@pytest.fixture(scope="module")
def ytvos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "set"
    scene = SceneConfig(height=48, width=64, num_frames=6, difficulty=Difficulty(num_objects=2))
    write_set(folder, clips=4, seed=0, config=scene, layouts=("youtube_vos",))
    return folder / "youtube_vos"


def test_youtube_vos_gives_five_numbers_of_one_run(
    ytvos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured, missing = evaluations(replace(SETTINGS, ytvos=ytvos))
    assert missing == []
    ran = []

    def counted(task, extractor, place, *, report):
        ran.append(task.protocol.features.layer)
        return run(task, extractor, place, report=report)

    monkeypatch.setattr("kinema.studies.evaluate.run_benchmark", counted)
    extractor = load("pixels:8")
    values = {each.measure: each.of(extractor, tmp_path, lambda *_: None) for each in measured}
    assert list(values) == ["YouTube-VOS overall", "J seen", "F seen", "J unseen", "F unseen"]
    assert ran == [2]
    parts = [values[f"{letter} {kind}"] for letter in "JF" for kind in ("seen", "unseen")]
    assert values["YouTube-VOS overall"] == pytest.approx(sum(parts) / 4)
    assert values["J seen"] != values["J unseen"]


def test_a_kind_of_category_that_is_not_there_is_not_measured(ytvos: Path) -> None:
    measured, missing = evaluations(replace(SETTINGS, ytvos=ytvos, unseen=()))
    assert [each.measure for each in measured] == ["YouTube-VOS overall", "J seen", "F seen"]
    assert len(missing) == 2
    assert "no unseen category for J unseen" in missing[0]


def test_a_layer_is_part_of_what_a_number_depends_on(ytvos: Path) -> None:
    one, other = (Evaluation(kind="ytvos", settings=replace(SETTINGS, ytvos=ytvos, layer=n)) for n in (1, 2))
    assert one.described()["protocol"]["features"]["layer"] == 1
    assert one._digest() != other._digest()
