"""A method read back with its decoder: from a run, from one of its checkpoints, from transformers' folders."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from kinema.errors import ConfigError, WeightsError
from kinema.methods.configs import SiamMAEConfig, VideoMAEConfig
from kinema.models.vit_config import DecoderConfig, MaskedDecoderConfig, ViTConfig, video_vit
from kinema.recipes.registry import FINETUNE_RECIPES, RECIPES
from kinema.runs.build import build_method
from kinema.runs.trained import load_method, select_method
from kinema.settings import rebuilt
from kinema.train.checkpoint import save_checkpoint
from kinema.train.checkpoint_files import TrainState
from kinema.types import ClipBatch
from kinema.weights.formats.huggingface_writing import write_huggingface
from kinema.weights.network import NetworkWeights

CONFIG = SiamMAEConfig(
    encoder=ViTConfig(width=24, depth=1, num_heads=2, patch_size=8, image_size=32),
    decoder=DecoderConfig(width=16, depth=1, num_heads=2),
    mask_ratio=0.75,
)


def write_run(folder: Path, *, steps: tuple[int, ...] = (2, 4)) -> Path:
    """A folder as `kinema pretrain` leaves it; the weights of step n are those of seed n."""
    folder.mkdir(parents=True)
    recipe = replace(RECIPES["siammae_smoke"](), method=CONFIG)
    (folder / "recipe.json").write_text(json.dumps({"recipe": "siammae_smoke", "settings": asdict(recipe)}))
    for step in steps:
        method = build_method(CONFIG, seed=step)
        state = TrainState(step=step, fingerprint="x", clips_seen=0, cpu_s=0.0)
        save_checkpoint(folder, method, torch.optim.SGD(method.parameters()), state, keep=5)
    return folder


def pixel(method: Any) -> float:
    return next(method.decoder.parameters()).flatten()[0].item()


def test_the_newest_checkpoint_or_a_named_one(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    newest = load_method(run)
    assert newest.name == "SiamMAE"
    assert newest.source.endswith("step-00000004")
    assert pixel(newest.method) == pixel(build_method(CONFIG, seed=4))
    for name, seed in (("step-00000002", 2), ("latest", 4)):
        assert pixel(load_method(run / "checkpoints" / name).method) == pixel(build_method(CONFIG, seed=seed))
    assert not newest.method.training


def test_pairs_are_shown_with_nine_tenths_hidden_unless_told(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    assert load_method(run).method.config.mask_ratio == 0.9  # pyright: ignore
    assert load_method(run, mask_ratio=0.5).method.config.mask_ratio == 0.5  # pyright: ignore
    assert select_method(None, "videomae_smoke", mask_ratio=None).method.config.mask_ratio == 0.75  # pyright: ignore
    shares = select_method(None, "ino_smoke", mask_ratio=0.4).method.config.mask_ratio  # pyright: ignore
    assert shares == (0.4, 0.4)
    with pytest.raises(ConfigError, match=r"mask ratio 1\.5"):
        load_method(run, mask_ratio=1.5)
    with pytest.raises(ConfigError, match="either weights or a recipe"):
        select_method(run, "siammae_smoke", mask_ratio=None)


def test_what_is_no_such_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such"):
        load_method(tmp_path / "nowhere")
    run = write_run(tmp_path / "run")
    recipe = json.loads((run / "recipe.json").read_text())
    for change, said in (
        ({"recipe": "finetune_cpu"}, "predicts no pixels"),
        ({"settings": {"method": {**recipe["settings"]["method"], "color": 3}}}, "does not have"),
        ({"settings": {"method": {**recipe["settings"]["method"], "target": "sharp"}}}, "'sharp' is none of"),
        (
            {"settings": {"method": {**recipe["settings"]["method"], "decoding": "joint"}}},
            "are not those of the method",
        ),
    ):
        (run / "recipe.json").write_text(json.dumps({**recipe, **change}))
        with pytest.raises(WeightsError, match=said):
            load_method(run)
    (run / "recipe.json").unlink()
    with pytest.raises(WeightsError, match=r"no recipe\.json there"):
        load_method(run)
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(WeightsError, match="has no checkpoint, so there is no decoder"):
        load_method(run)


@pytest.mark.parametrize("is_video", [True, False])
def test_transformers_models_come_with_their_decoder(tmp_path: Path, is_video: bool) -> None:
    frames = {"num_frames": 4, "tubelet_size": 2} if is_video else {}
    base = video_vit("tiny", image_size=32) if is_video else ViTConfig(image_size=32)
    encoder = replace(base, width=24, depth=1, num_heads=2, **frames)
    decoder = MaskedDecoderConfig(width=16, depth=1, num_heads=2, embed_bias=not is_video)
    config = VideoMAEConfig(encoder=encoder, decoder=decoder, mask="tube" if is_video else "random", mask_ratio=0.5)
    method = build_method(config, seed=1)
    weights = NetworkWeights(
        encoder=encoder,
        encoder_tensors=method.encoder.state_dict(),  # pyright: ignore
        decoder=decoder,
        decoder_tensors=method.decoder.state_dict(),  # pyright: ignore
        mask_ratio=None if is_video else 0.75,
    )
    write_huggingface(tmp_path / "hf", weights)
    read = load_method(tmp_path / "hf", mask_ratio=0.5)
    assert read.name == "VideoMAE"
    assert read.method.config.target == ("channel_normalized" if is_video else "patch_normalized")  # pyright: ignore
    count = 4 if is_video else 1
    frames_given = torch.randint(0, 256, (1, count, 3, 32, 32), dtype=torch.uint8)
    batch = ClipBatch(frames=frames_given, seeds=torch.zeros(1, dtype=torch.long), ids=("a",))
    shown = read.method.reconstruct(batch)
    assert shown is not None
    assert shown.truth.shape == (1, count, 3, 32, 32)
    with torch.no_grad():
        tubelets, mask = method.tubelets(batch.frames), read.method.encoder_mask(batch.seeds)  # pyright: ignore
        assert torch.allclose(read.method.predict(tubelets, mask), method.predict(tubelets, mask), atol=1e-5)  # pyright: ignore


@pytest.mark.parametrize("name", [*RECIPES, *FINETUNE_RECIPES])
def test_every_recipe_is_rebuilt_from_what_a_run_writes_of_it(name: str) -> None:
    recipe = {**RECIPES, **FINETUNE_RECIPES}[name]()
    assert rebuilt(type(recipe), json.loads(json.dumps(asdict(recipe)))) == recipe


def test_settings_that_cannot_be_rebuilt() -> None:
    with pytest.raises(ConfigError, match="does not have"):
        rebuilt(DecoderConfig, {"width": 16, "color": 3})
    with pytest.raises(ConfigError, match="does not have"):
        rebuilt(DecoderConfig, 3)
    with pytest.raises(ConfigError, match="width of -4"):
        rebuilt(DecoderConfig, {"width": -4})
    with pytest.raises(ConfigError, match="no known kind"):
        rebuilt(SiamMAEConfig | VideoMAEConfig, {"a": 3})
