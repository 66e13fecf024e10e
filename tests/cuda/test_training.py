"""The engine on a CUDA device: a run goes on where it was, and what is not finite is named though it is read late."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kinema.errors import TrainingError
from kinema.recipes.registry import get_recipe
from kinema.runs.pretrain_run import PretrainRequest, pretrain
from kinema.train.checkpoint_files import find_newest_checkpoint
from kinema.train.parallel import Ranks, StopRequest
from kinema.weights.load import load
from tests.train.tiny import TinyMethod, assert_same_weights, metrics, tiny_batches, tiny_fit


def test_a_run_that_was_stopped_ends_with_the_weights_of_one_that_was_not(cuda, tmp_path):
    def run(name: str, *stops: int) -> TinyMethod:
        for after, until in zip((0, *stops), (*stops, None), strict=True):
            stop, method = StopRequest(), TinyMethod()

            def batches(stop=stop, after=after, until=until):
                for step, loaded in enumerate(tiny_batches(after), start=after + 1):
                    stop.requested = step == until
                    yield loaded

            tiny_fit(tmp_path / name, method=method, batches=batches(), ranks=Ranks(device=cuda), stop=stop)
        return method

    assert_same_weights(run("stopped", 5), run("whole"))


def test_a_loss_that_is_not_finite_is_named_with_its_own_step_and_nothing_of_it_is_saved(cuda, tmp_path):
    class Poisoned(TinyMethod):
        def forward(self, batch, progress):
            output = super().forward(batch, progress)
            return type(output)(loss=output.loss * (float("nan") if progress == 7 / 12 else 1), terms=output.terms)

    with pytest.raises(TrainingError, match=r"at step 8 \(clips clip8\.0"):
        tiny_fit(tmp_path, method=Poisoned(), ranks=Ranks(device=cuda))
    assert find_newest_checkpoint(tmp_path).name == "step-00000004"


def frames_folder(root: Path) -> Path:
    """Two clips of twelve frames, each a noise picture that moves."""
    for clip in range(2):
        scene = np.random.default_rng(clip).integers(0, 256, (12, 20, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        (root / f"clip{clip}").mkdir(parents=True)
        for index in range(12):
            Image.fromarray(np.roll(scene, 3 * index, axis=1)).save(root / f"clip{clip}" / f"{index:05d}.png")
    return root


def test_a_whole_run_learns_exports_and_is_what_the_processor_makes_of_it(cuda, tmp_path):
    recipe = get_recipe("siammae_smoke")
    recipe = replace(
        recipe,
        data=replace(recipe.data, num_workers=1),
        train=replace(recipe.train, precision="fp32", base_lr=1e-3),
    )
    data = frames_folder(tmp_path / "data")
    for device in ("cuda", "cpu"):
        out = tmp_path / device
        pretrain(PretrainRequest(name="siammae_smoke", recipe=recipe, sources=[data], out=out, device=device))
    losses = {device: [row["loss"] for row in metrics(tmp_path / device)] for device in ("cuda", "cpu")}
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=1e-2)  # TF32 on one side
    frames = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    features = [load(tmp_path / name, device=name).dense(frames).cpu() for name in ("cuda", "cpu")]
    assert torch.nn.functional.cosine_similarity(*features, dim=-1).min() > 0.99
