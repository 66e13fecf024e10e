"""Numbers that a study measures of one network."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from kinema.benchmark.benchmark_run import run
from kinema.benchmark.recognition import probe
from kinema.errors import ConfigError, DatasetError, WeightsError
from kinema.ops.calibration import Timing
from kinema.tools.studies.evaluate import build_evaluations
from kinema.tools.studies.propagation_measures import build_propagation_measures, compute_digest
from kinema.tools.studies.study_config import Evaluations
from kinema.tools.synthetic.scene import Difficulty, SceneConfig
from kinema.tools.synthetic.write import write_set
from kinema.transfer.probe_config import ClipReading
from kinema.video.sampling import Clips
from kinema.weights.load import load
from tests.labeling.small import write_encoder
from tests.transfer.colored import FRAME_ENCODER, write_colored

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
    measured, missing = build_evaluations(replace(SETTINGS, ytvos=ytvos))
    assert missing == []
    ran = []

    def counted(task, extractor, place, *, report):
        ran.append(task.protocol.features.layer)
        return run(task, extractor, place, report=report)

    monkeypatch.setattr("kinema.tools.studies.propagation_measures.run_benchmark", counted)
    extractor = load("pixels:8")
    values = {each.measure: each.of(extractor, tmp_path, lambda *_: None) for each in measured}
    assert list(values) == ["YouTube-VOS overall", "J seen", "F seen", "J unseen", "F unseen"]
    assert ran == [2]
    parts = [values[f"{letter} {kind}"] for letter in "JF" for kind in ("seen", "unseen")]
    assert values["YouTube-VOS overall"] == pytest.approx(sum(parts) / 4)
    assert values["J seen"] != values["J unseen"]


def test_a_kind_of_category_that_is_not_there_is_not_measured(ytvos: Path) -> None:
    measured, missing = build_evaluations(replace(SETTINGS, ytvos=ytvos, unseen=()))
    assert [each.measure for each in measured] == ["YouTube-VOS overall", "J seen", "F seen"]
    assert len(missing) == 2
    assert "no unseen category for J unseen" in missing[0]


def test_a_set_whose_labels_are_withheld_is_not_measured(ytvos: Path, tmp_path: Path) -> None:
    root = tmp_path / "withheld"
    shutil.copytree(ytvos, root)
    shutil.rmtree(root / "valid_truth")
    with pytest.raises(DatasetError, match="no true labels of the valid split for YouTube-VOS overall"):
        build_evaluations(replace(SETTINGS, ytvos=root))


def test_a_layer_is_part_of_what_a_number_depends_on(ytvos: Path) -> None:
    one, other = (build_propagation_measures("ytvos", ytvos, replace(SETTINGS, layer=n))[0].describe() for n in (1, 2))
    assert one["protocol"]["features"]["layer"] == 1
    assert compute_digest(one) != compute_digest(other)


def test_the_arithmetic_is_part_of_what_a_number_depends_on(ytvos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for fast, expected in ((True, "bf16"), (False, "fp32")):
        timing = Timing(fp32_ms=2.0 if fast else 1.0, bf16_ms=1.0)
        monkeypatch.setattr("kinema.ops.precision.has_bf16_instructions", lambda: True)
        monkeypatch.setattr("kinema.ops.precision.calibrate", lambda _work, _width, timing=timing: timing)
        measured, _ = build_evaluations(replace(SETTINGS, ytvos=ytvos, precision="auto"), device="cpu")
        assert measured[0].describe()["protocol"]["features"]["precision"] == expected


def test_other_sequences_are_another_number(ytvos: Path) -> None:
    some, all_of_them = (
        build_propagation_measures("ytvos", ytvos, replace(SETTINGS, sequences=n))[0] for n in (("a",), ())
    )
    assert compute_digest(some.describe()) != compute_digest(all_of_them.describe())


def test_vip_gives_the_mean_iou_of_parts(tmp_path: Path) -> None:
    scene = SceneConfig(height=48, width=64, num_frames=3, difficulty=Difficulty(num_objects=2))
    write_set(tmp_path / "set", clips=1, seed=0, config=scene, layouts=("vip",))
    (measured,), missing = build_evaluations(replace(SETTINGS, vip=tmp_path / "set" / "vip", short_side=48))
    extractor = load("pixels:8")
    assert (measured.measure, missing) == ("part mIoU", [])
    value = measured.of(extractor, tmp_path / "results", lambda *_: None)
    (written,) = (tmp_path / "results").glob("vip-*/result.json")
    assert value == 100 * json.loads(written.read_text())["summary"]["mIoU"]
    assert 0 < value < 100


def test_the_settings_of_dials_are_checked() -> None:
    with pytest.raises(ConfigError, match="2 frames a clip"):
        build_evaluations(Evaluations(dials=Path("nowhere"), dial_frames=2))
    with pytest.raises(ConfigError, match="clips is 0"):
        build_evaluations(Evaluations(dials=Path("nowhere"), dial_clips=0))


def test_a_network_is_fine_tuned_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, weights = write_colored(tmp_path / "data"), write_encoder(tmp_path / "weights", FRAME_ENCODER)
    reading = ClipReading(sampling=Clips(num_frames=2, stride=1), size=FRAME_ENCODER.image_size)
    settings = Evaluations(dataset="folders", root=data, finetune_steps=2, reading=reading)
    measured = build_evaluations(settings)[0][-1]
    assert measured.measure == "fine-tuned top-1"
    value = measured.of(load(weights), tmp_path / "results", lambda *_: None)
    (written,) = (tmp_path / "results").iterdir()  # the run itself is not kept
    assert value == 100 * json.loads(written.read_text())["top1"]
    monkeypatch.setattr("kinema.tools.studies.recognition_measures.finetune", lambda _: pytest.fail("fine-tuned again"))
    assert measured.of(load(weights), tmp_path / "results", lambda *_: None) == value


def test_other_files_or_another_network_are_probed_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_colored(tmp_path / "data")
    reading = ClipReading(sampling=Clips(num_frames=2, stride=1), size=FRAME_ENCODER.image_size)
    (knn, _), _ = build_evaluations(Evaluations(dataset="folders", root=data, reading=reading))
    one, other = (load(write_encoder(tmp_path / f"seed{seed}", FRAME_ENCODER, seed=seed)) for seed in (0, 1))
    probed: list[str] = []

    def counted(kind, labeled, extractor, place, **settings):
        probed.append(extractor.source.source)
        return probe(kind, labeled, extractor, place, **settings)

    monkeypatch.setattr("kinema.tools.studies.recognition_measures.probe", counted)
    for extractor in (one, one, other):
        knn.of(extractor, tmp_path / "results", lambda *_: None)
    assert len(probed) == 2
    (data / "train" / "red" / "0.mp4").unlink()
    knn.of(one, tmp_path / "results", lambda *_: None)
    assert len(probed) == 3


def test_raw_pixels_cannot_be_fine_tuned(tmp_path: Path) -> None:
    settings = Evaluations(dataset="folders", root=write_colored(tmp_path / "data"), finetune_steps=2)
    measured = build_evaluations(settings)[0][-1]
    with pytest.raises(WeightsError, match="pixels:8"):
        measured.of(load("pixels:8"), tmp_path / "pixels", lambda *_: None)


def test_steps_of_fine_tuning_need_labeled_clips() -> None:
    with pytest.raises(ConfigError, match=r"--evaluate\.finetune-steps"):
        Evaluations(davis=Path("davis"), finetune_steps=10)
