"""A whole fine-tuning run: it learns, goes on from where it stopped, and is tested on what it left."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kinema.benchmark.classification import ClassifierResult
from kinema.benchmark.recognition import LabeledData
from kinema.errors import ConfigError, WeightsError
from kinema.models.vit_config import ViTConfig
from kinema.recipes.registry import get_finetune_recipe
from kinema.runs import finetune_run as module
from kinema.runs.estimate import estimate
from kinema.runs.finetune_run import FineTuneRequest, evaluate, finetune
from kinema.train.loop import Hook
from kinema.train.parallel import StopRequest
from kinema.transfer.classifier import load_classifier
from kinema.video.sampling import Clips, FramePairs, Segments
from tests.labeling.small import write_encoder
from tests.transfer.colored import ENCODER, FRAME_ENCODER, write_colored


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colored(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Callable[[ViTConfig], Path]:
    folder = tmp_path_factory.mktemp("weights")
    return lambda config: write_encoder(folder / f"{len(list(folder.iterdir()))}", config)


def _request(root: Path, weights: Path, out: Path, *, train: dict[str, Any] | None = None, **data: Any) -> Any:
    recipe = get_finetune_recipe("finetune_cpu")
    settings = {"steps": 12, "warmup_steps": 2, "batch_size": 12, "base_lr": 0.2, "checkpoint_every_steps": 4}
    data = {"sampling": Clips(num_frames=4, stride=1), "num_workers": 0} | data
    recipe = replace(recipe, data=replace(recipe.data, **data), train=replace(recipe.train, **settings | (train or {})))
    labeled = LabeledData(dataset="folders", root=root)
    return FineTuneRequest(
        name="finetune_cpu", recipe=recipe, labeled=labeled, weights=str(weights), out=out, device="cpu"
    )


@pytest.mark.parametrize("encoder", [ENCODER, FRAME_ENCODER], ids=["clips", "frames"])
def test_colored_clips_are_learned(data: Path, weights: Callable, tmp_path: Path, encoder: ViTConfig) -> None:
    out = tmp_path / "run"
    augmented = get_finetune_recipe("finetune_ucf101_vitb16").data.transform
    mild = replace(augmented, rand_augment=replace(augmented.rand_augment, num_ops=0))  # colors are the classes
    request = _request(data, weights(encoder), out, transform=mild, train={"evaluate_every_steps": 6})
    trained, result = finetune(request)
    assert isinstance(result, ClassifierResult)
    assert (trained.state.step, result.summary["top1"], result.summary["mean_class"]) == (12, 1.0, 1.0)
    assert (result.classes, result.train_files, result.test_files, result.unreadable) == (3, 12, 6, [])
    assert json.loads((out / "result.json").read_text())["views"] == 2
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "test/top1" in row] == [6, 12]
    again = evaluate(out, request.labeled, None, reading=result.reading, num_workers=0, device="cpu")
    assert again.summary == pytest.approx(result.summary)
    longer = replace(result.reading, sampling=Segments(num_frames=8), size=48, crops=3)
    assert evaluate(out, request.labeled, tmp_path / "e", reading=longer, num_workers=0).summary["top1"] == 1
    assert (tmp_path / "e" / "result.json").is_file()


def test_a_run_that_stopped_goes_on_to_the_same_end(
    data: Path, weights: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its weights, which it needs no more."""
    source = weights(ENCODER)
    short = {"steps": 4, "checkpoint_every_steps": 2}
    request = _request(data, source, tmp_path / "stopped", train=short)
    more = replace(request.recipe.method, mix=replace(request.recipe.method.mix, mixup=0.8, cutmix=1.0))
    request = replace(request, recipe=replace(request.recipe, method=more))
    finetune(replace(request, out=tmp_path / "whole"))
    asked = StopRequest()
    own_hooks = FineTuneRequest.build_hooks

    def hooks(*given: Any) -> list[Hook]:
        return [*own_hooks(*given), Hook(every_steps=2, function=lambda *_: setattr(asked, "requested", True))]

    with monkeypatch.context() as patch:
        patch.setattr(FineTuneRequest, "build_hooks", hooks)
        patch.setattr(module, "StopRequest", lambda: asked)
        stopped, result = finetune(request)
    assert (stopped.interrupted, stopped.state.step, result) == (True, 3, None)
    for file in source.iterdir():
        file.unlink()
    ended, result = finetune(request)
    assert ended.state.step == 4
    assert result is not None
    for name in ("encoder.safetensors", "classifier.safetensors", "checkpoints/latest/method.safetensors"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_a_clip_of_three_frames_and_a_torn_one(weights: Callable, tmp_path: Path) -> None:
    root = write_colored(tmp_path / "data", train=2, test=1, frames=3)
    (root / "train" / "red" / "torn.mp4").write_bytes(b"no video")
    (root / "test" / "red" / "torn.mp4").write_bytes(b"no video")
    request = _request(
        root,
        weights(ENCODER),
        tmp_path / "run",
        train={"steps": 3, "warmup_steps": 0},
        sampling=Clips(num_frames=8, stride=4),
        max_unreadable_share=0.5,
    )
    _, result = finetune(request)
    assert result is not None
    assert (result.train_files, result.test_files) == (6, 3)
    assert [Path(path).name for path, _ in result.unreadable] == ["torn.mp4"]
    assert load_classifier(tmp_path / "run").classifier.encoder.config.num_frames == 8


def test_other_classes_for_the_same_files_are_another_run(data: Path, weights: Callable, tmp_path: Path) -> None:
    for split in ("train", "test"):
        files = sorted((data / split).rglob("*.mp4"))
        (tmp_path / f"{split}.csv").write_text("".join(f"{file},{number % 2}\n" for number, file in enumerate(files)))
    request = _request(tmp_path, weights(ENCODER), tmp_path / "run", train={"steps": 1, "warmup_steps": 0})
    request = replace(request, labeled=LabeledData(dataset="list", root=tmp_path))
    finetune(request)
    finetune(request)
    lines = (tmp_path / "train.csv").read_text().replace(",0", ",2").replace(",1", ",0").replace(",2", ",1")
    (tmp_path / "train.csv").write_text(lines)
    with pytest.raises(ConfigError, match="other files"):
        finetune(request)


def test_a_dry_run_estimates_and_writes_nothing(data: Path, weights: Callable, tmp_path: Path) -> None:
    estimated = estimate(_request(data, weights(ENCODER), tmp_path / "run"))
    assert (estimated.files, estimated.steps) == (12, 12)
    assert not (tmp_path / "run").exists()


def test_weights_of_another_size_are_refused(data: Path, weights: Callable, tmp_path: Path) -> None:
    request = _request(data, weights(ENCODER), tmp_path / "run")
    sized = replace(request.recipe, method=replace(request.recipe.method, size="base"))
    with pytest.raises(WeightsError, match="width 48 and 2 blocks for a recipe of ViT-base"):
        finetune(replace(request, recipe=sized))
    with pytest.raises(WeightsError, match="nothing to fine-tune"):
        finetune(replace(request, weights="pixels:16"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("data", "train", "message"),
    [({"sampling": FramePairs()}, {}, "frame pairs"), ({}, {"pictures_every_steps": 5}, "no pictures")],
)
def test_settings_that_mean_nothing_here(data: dict, train: dict, message: str) -> None:
    recipe = get_finetune_recipe("finetune_cpu")
    with pytest.raises(ConfigError, match=message):
        replace(recipe, data=replace(recipe.data, **data), train=replace(recipe.train, **train))
