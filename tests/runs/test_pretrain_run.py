"""A whole run: what it leaves, what it does beside training, and what it goes on from."""

import errno
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from kinema.datasets.davis import read_sequences
from kinema.errors import ConfigError, DatasetError, TrainingError, WeightsError
from kinema.layouts import DavisLayout
from kinema.recipes.registry import get_recipe
from kinema.runs import hooks as hooks_module
from kinema.runs import pretrain_run as module
from kinema.runs.estimate import estimate
from kinema.runs.pretrain_run import PretrainRequest, pretrain
from kinema.tools.visualize.picture_size import at_size
from kinema.train import checkpoint
from kinema.train.checkpoint_files import finished_steps
from kinema.train.loop import FitResult, Hook
from kinema.train.parallel import StopRequest
from kinema.video.images import read_image
from kinema.video.masks import read_mask
from kinema.video.overlays import overlay
from kinema.video.reader import open_video
from kinema.weights.load import load
from kinema.weights.read import read_weights
from kinema.weights.write import write_as
from tests.labeling.small import write_davis

Run = Callable[..., FitResult]


@pytest.fixture(scope="module")
def davis(tmp_path_factory: pytest.TempPathFactory) -> DavisLayout:
    return write_davis(tmp_path_factory.mktemp("synth"))


def _request(layout: DavisLayout, out: Path, *, train: dict[str, Any] | None = None, **changes: Any) -> PretrainRequest:
    recipe = get_recipe("siammae_smoke")
    settings = {"steps": 4, "warmup_steps": 0, "checkpoint_every_steps": 2, "log_every_steps": 1} | (train or {})
    recipe = replace(recipe, data=replace(recipe.data, num_workers=0), train=replace(recipe.train, **settings))
    given = {"name": "siammae_smoke", "recipe": recipe, "sources": [layout.frames_dir("")], "out": out, "device": "cpu"}
    return PretrainRequest(**(given | changes))


def _rows(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_what_a_run_leaves(davis: DavisLayout, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = {"pictures_every_steps": 2, "export_every_steps": 3, "keep_checkpoints": 1}
    result = pretrain(_request(davis, tmp_path / "run", train=train))
    assert (result.state.step, result.interrupted) == (4, False)
    out = tmp_path / "run"
    files = {"recipe.json", "metrics.jsonl", "encoder.safetensors", "config.json", "decoder.safetensors", "report.html"}
    assert {path.name for path in out.iterdir()} == files | {"tensorboard", "pictures", "checkpoints", "encoders"}
    assert sorted(path.name for path in (out / "checkpoints").iterdir()) == ["latest", "step-00000004"]
    assert sorted(path.name for path in (out / "encoders").iterdir()) == ["step-00000003", "step-00000004"]
    assert [row["step"] for row in _rows(out)] == [1, 2, 3, 4]
    stages = {f"stage_ms/{stage}" for stage in ("read", "decode", "transform", "collate", "compute")}
    assert all(row[stage] > 0 for row in _rows(out) for stage in stages)
    assert capsys.readouterr().err.count("% of the time is spent waiting for data") == 1
    with Image.open(out / "pictures" / "step-00000004.png") as picture:
        assert np.asarray(picture).std() > 10
    trained = load_file(out / "checkpoints" / "latest" / "method.safetensors")
    exported = load_file(out / "encoder.safetensors")
    assert all(torch.equal(exported[name], trained[f"encoder.{name}"]) for name in exported)
    assert json.loads((out / "config.json").read_text())["step"] == 4
    assert load(out).source.sha256 == json.loads((out / "config.json").read_text())["sha256"]


def test_held_out_clips_and_davis_are_measured(davis: DavisLayout, tmp_path: Path) -> None:
    held_out = davis.frames_dir("clip-0003")
    request = _request(
        davis, tmp_path / "run", train={"evaluate_every_steps": 2}, held_out=[held_out], davis=davis.root
    )
    pretrain(request)
    rows = _rows(tmp_path / "run")
    losses = {row["step"]: row["held_out/loss"] for row in rows if "held_out/loss" in row}
    assert losses.keys() == {2, 4}
    assert losses[2] != losses[4]
    scores = [row for row in rows if "davis/J&F-Mean" in row]
    assert [row["step"] for row in scores] == [2, 4]
    assert all(0 <= row["davis/J&F-Mean"] <= 1 for row in scores)
    sequence = read_sequences(davis.root)[0]
    films = sorted((tmp_path / "run" / "pictures").glob("davis-step-*.mp4"))
    assert [path.stem for path in films] == ["davis-step-00000002", "davis-step-00000004"]
    film = open_video(films[1])
    first = overlay(read_image(sequence.frame_paths[0]), read_mask(sequence.mask_paths[0]))
    assert film.num_frames == len(sequence.frame_paths)
    assert np.abs(film.frames([0])[0].astype(int) - at_size(first, (film.height, film.width))).mean() < 8
    assert (tmp_path / "run" / "report.html").read_text().count("<video") == 2
    written = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert written["files"]["count"] == 3  # nothing held out is trained on


@pytest.mark.parametrize("changes", [{"held_out": [Path("clips")]}, {"davis": Path("davis")}])
def test_an_evaluation_that_would_never_happen(davis: DavisLayout, tmp_path: Path, changes: dict) -> None:
    with pytest.raises(ConfigError, match=r"--train\.evaluate-every-steps"):
        _request(davis, tmp_path, **changes)


def test_an_interrupted_run_leaves_its_encoder_and_goes_on_to_the_same_end(
    davis: DavisLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = _request(davis, tmp_path / "stopped", train={"pictures_every_steps": None})
    whole = pretrain(replace(request, out=tmp_path / "whole"))
    asked = StopRequest()

    own_hooks = PretrainRequest.build_hooks

    def hooks(*given: Any) -> list[Hook]:
        return [*own_hooks(*given), Hook(every_steps=2, function=lambda *_: setattr(asked, "requested", True))]

    with monkeypatch.context() as patch:
        patch.setattr(PretrainRequest, "build_hooks", hooks)
        patch.setattr(module, "StopRequest", lambda: asked)
        stopped = pretrain(request)
    assert (stopped.interrupted, stopped.state.step) == (True, 3)
    assert json.loads((tmp_path / "stopped" / "config.json").read_text())["step"] == 3
    ended = pretrain(request)
    assert (ended.state.step, ended.state.clips_seen) == (4, whole.state.clips_seen)
    for name in ("encoder.safetensors", "checkpoints/latest/method.safetensors", "checkpoints/latest/optimizer.pt"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_run_that_starts_from_an_encoder(davis: DavisLayout, tmp_path: Path) -> None:
    first = _request(davis, tmp_path / "first", train={"pictures_every_steps": None})
    pretrain(first)
    slow = {"base_lr": 1e-12, "weight_decay": 0.0, "pictures_every_steps": None}
    pretrain(_request(davis, tmp_path / "second", train=slow, init_from=str(tmp_path / "first")))
    before, after = (load_file(tmp_path / name / "encoder.safetensors") for name in ("first", "second"))
    assert all((before[name] - after[name]).abs().max() < 1e-6 for name in before)


@pytest.mark.parametrize(
    ("name", "architecture"), [("videomae_smoke", "VideoMAEForPreTraining"), ("vicmae_smoke", "ViTMAEForPreTraining")]
)
def test_a_masked_decoder_is_left_converted_and_started_from(
    davis: DavisLayout, tmp_path: Path, name: str, architecture: str
) -> None:
    recipe = get_recipe(name)
    few = {"steps": 1, "warmup_steps": 0, "pictures_every_steps": None}
    recipe = replace(recipe, data=replace(recipe.data, num_workers=0), train=replace(recipe.train, **few))
    run = tmp_path / "run"
    pretrain(_request(davis, run, name=name, recipe=recipe))
    trained = load_file(run / "checkpoints" / "latest" / "method.safetensors")
    decoder = {key.removeprefix("decoder."): value for key, value in trained.items() if key.startswith("decoder.")}
    _require_equal(load_file(run / "decoder.safetensors"), decoder)
    weights, _ = read_weights(run, with_decoder=True)
    write_as(tmp_path / "theirs", weights, "huggingface")
    assert json.loads((tmp_path / "theirs" / "config.json").read_text())["architectures"] == [architecture]
    again, _ = read_weights(tmp_path / "theirs")
    _require_equal(again.decoder_tensors or {}, decoder)
    for source in (run, tmp_path / "theirs"):
        method = module.build_method(recipe.method, seed=7)
        module.load_initial_weights(method, str(source))
        _require_equal(method.get_submodule("decoder").state_dict(), decoder)


def _require_equal(found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_encoder_is_as_new_as_a_checkpoint_made_by_time(
    davis: DavisLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StoppedError(Exception):
        pass

    def stop(_method: object, _step: int, _log: object) -> None:
        raise StoppedError

    own_hooks = PretrainRequest.build_hooks
    monkeypatch.setattr(
        PretrainRequest, "build_hooks", lambda *given: [Hook(every_steps=3, function=stop), *own_hooks(*given)]
    )
    seldom = {"checkpoint_every_steps": 1000, "checkpoint_every_s": 1e-9}
    with pytest.raises(StoppedError):
        pretrain(_request(davis, tmp_path / "run", train=seldom))
    assert json.loads((tmp_path / "run" / "config.json").read_text())["step"] == 2
    assert finished_steps(tmp_path / "run") == 2


def test_a_run_that_goes_on_does_not_ask_for_what_it_started_from(davis: DavisLayout, tmp_path: Path) -> None:
    first = _request(davis, tmp_path / "first", train={"pictures_every_steps": None})
    pretrain(first)
    second = replace(first, out=tmp_path / "second", init_from=str(tmp_path / "first"))
    pretrain(second)
    shutil.rmtree(tmp_path / "first")
    assert pretrain(second).state.step == 4
    with pytest.raises(WeightsError):
        pretrain(replace(second, fresh=True))


def test_held_out_clips_that_cannot_be_read_are_refused(davis: DavisLayout, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_text("no video")
    held_out = [davis.frames_dir("clip-0003"), broken]
    with pytest.raises(DatasetError, match=r"held-out clip cannot be read.*broken\.mp4"):
        pretrain(_request(davis, tmp_path / "run", train={"evaluate_every_steps": 2}, held_out=held_out))
    assert not (tmp_path / "run").exists()


def test_clips_that_cannot_be_pictured_are_named(
    davis: DavisLayout, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_text("no video")
    request = _request(davis, tmp_path / "run", sources=[davis.frames_dir(""), broken])
    loose = replace(request.recipe.data, max_unreadable_share=0.5)
    pretrain(replace(request, recipe=replace(request.recipe, data=loose)))
    assert (tmp_path / "run" / "pictures" / "step-00000004.png").is_file()
    assert [message for message in caplog.messages if "not pictured" in message and "broken.mp4" in message]


def test_a_fault_of_the_system_stops_training(
    davis: DavisLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    request = _request(davis, tmp_path / "run", train={"pictures_every_steps": None})
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.os, "fsync", refuse)
        with pytest.raises(TrainingError, match="training stopped: Input/output error"):
            pretrain(request)
    assert pretrain(request).state.step == 4


def test_davis_is_measured_in_full_precision(
    davis: DavisLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def scores(*_: object, **__: object) -> dict[str, float]:
        seen.append(torch.get_float32_matmul_precision())
        return {"J&F-Mean": 0.0, "J-Mean": 0.0, "F-Mean": 0.0}

    monkeypatch.setattr(hooks_module, "compute_davis_scores", scores)
    former = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        pretrain(_request(davis, tmp_path / "run", train={"evaluate_every_steps": 4}, davis=davis.root))
        assert (seen, torch.get_float32_matmul_precision()) == (["highest"], "high")
    finally:
        torch.set_float32_matmul_precision(former)


@pytest.mark.parametrize("fresh", [False, True])
def test_a_second_run_in_the_folder_of_one_that_is_at_work_is_refused(
    davis: DavisLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh: bool
) -> None:
    monkeypatch.setattr("kinema.runs.run_folder._LONGEST_WAIT_S", 0.3)
    request = _request(davis, tmp_path / "run")
    inner: list[str] = []

    def begin_another(*_: object) -> list[Hook]:
        def another(*_: object) -> None:
            monkeypatch.setattr(PretrainRequest, "build_hooks", lambda *_: [])
            with pytest.raises(ConfigError, match="another run is writing there") as caught:
                pretrain(replace(request, fresh=fresh))
            inner.append(str(caught.value))

        return [Hook(every_steps=2, function=another)]

    monkeypatch.setattr(PretrainRequest, "build_hooks", begin_another)
    assert not pretrain(request).interrupted
    assert len(inner) == 2
    assert [row["step"] for row in _rows(tmp_path / "run")] == [1, 2, 3, 4]
    pretrain(request)  # and whoever comes after may


def test_an_estimate_of_the_cost(davis: DavisLayout, tmp_path: Path) -> None:
    duration = {"epochs": 50.0, "steps": None, "warmup_epochs": 10.0, "warmup_steps": None}
    request = _request(davis, tmp_path / "run", train=duration)
    estimated = estimate(request)
    assert (estimated.files, estimated.steps, estimated.warmup_steps) == (4, 25, 5)  # 4 clips an epoch, batches of 8
    method = module.build_method(request.recipe.method, seed=0)
    assert estimated.parameters == sum(parameter.numel() for parameter in method.parameters())
    assert estimated.seconds > 0
    assert 4 * 4 * estimated.parameters / 2**30 < estimated.memory_gib < 0.1
    assert not (tmp_path / "run").exists()
    with pytest.raises(DatasetError, match="no such file"):
        estimate(replace(request, sources=[tmp_path / "absent"]))
    mixed = replace(request.recipe, data=replace(request.recipe.data, images=True, image_share=0.4))
    with pytest.raises(ConfigError, match="no videos among 20 files"):
        estimate(replace(request, recipe=mixed))
