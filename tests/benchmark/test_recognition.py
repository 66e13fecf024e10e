"""A probe from labeled files to its result: what it leaves, and what it refuses before it reads."""

from pathlib import Path

import pytest

from kinema.benchmark import recognition
from kinema.benchmark.recognition import LabeledData, ProbeResult, probe
from kinema.errors import ConfigError
from kinema.transfer.probe_config import ClipReading, KNNConfig, ProbeConfig
from kinema.video.sampling import Clips
from kinema.weights.load import load
from tests.transfer.colored import FRAME_ENCODER, write_colored


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> LabeledData:
    return LabeledData(dataset="folders", root=write_colored(tmp_path_factory.mktemp("data")))


def probed(data: LabeledData, out: Path, *, k: int = 3) -> ProbeResult:
    reading = ClipReading(sampling=Clips(num_frames=2, stride=1), size=FRAME_ENCODER.image_size)
    extractor = load("pixels:8", device="cpu")
    settings = {"reading": reading, "knn": KNNConfig(k=k), "training": ProbeConfig(), "num_workers": 0}
    return probe("knn", data, extractor, out, **settings)


def test_what_was_interrupted_leaves_nothing_and_can_be_asked_again(
    data: LabeledData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        assert list((tmp_path / "out" / "features").iterdir())
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(recognition, "compute_probe_rows", interrupted)
        with pytest.raises(KeyboardInterrupt):
            probed(data, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert probed(data, tmp_path / "out").summary["top1"] > 0
    assert (tmp_path / "out" / "features").is_dir()


def test_more_neighbors_than_samples_are_refused_before_anything_is_read(
    data: LabeledData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recognition, "extract", lambda *_, **__: pytest.fail("read"))
    with pytest.raises(ConfigError, match=r"1000 neighbors of \d+ training samples"):
        probed(data, tmp_path / "out", k=1000)
    assert not (tmp_path / "out").exists()
