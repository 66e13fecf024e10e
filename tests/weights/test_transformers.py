"""Models give the same features in transformers and here, whichever of the two wrote the files."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kinema.weights.formats.huggingface_writing import write_huggingface
from kinema.weights.network import NetworkWeights, Pixels
from kinema.weights.read import read_weights

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
SIZES = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 96,
    "image_size": 32,
    "patch_size": 8,
}
FIXED_MLP = {name: value for name, value in SIZES.items() if name != "intermediate_size"}
CLIPS = {
    "hidden_size": 36,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "crop_size": 32,
    "patch_size": 8,
    "frames_per_clip": 4,
    "pred_hidden_size": 36,
    "pred_num_attention_heads": 2,
    "pred_num_hidden_layers": 1,
}
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "vit": ("ViTModel", "ViTConfig", SIZES),
    "vit, no bias": ("ViTModel", "ViTConfig", {**SIZES, "qkv_bias": False}),
    "vit classifier": ("ViTForImageClassification", "ViTConfig", SIZES),
    "dinov2": ("Dinov2Model", "Dinov2Config", FIXED_MLP),
    "dinov2 swiglu": ("Dinov2Model", "Dinov2Config", {**FIXED_MLP, "use_swiglu_ffn": True}),
    "dinov2 classifier": ("Dinov2ForImageClassification", "Dinov2Config", FIXED_MLP),
    "dinov2 registers": ("Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", FIXED_MLP),
    "dinov2 registers swiglu": (
        "Dinov2WithRegistersModel",
        "Dinov2WithRegistersConfig",
        {**FIXED_MLP, "use_swiglu_ffn": True, "num_register_tokens": 2},
    ),
    "dinov3": ("DINOv3ViTModel", "DINOv3ViTConfig", {**SIZES, "num_register_tokens": 3}),
    "dinov3 key bias": ("DINOv3ViTModel", "DINOv3ViTConfig", {**SIZES, "key_bias": True}),
    "dinov3 swiglu": ("DINOv3ViTModel", "DINOv3ViTConfig", {**SIZES, "use_gated_mlp": True, "hidden_act": "silu"}),
    "vjepa2": ("VJEPA2Model", "VJEPA2Config", CLIPS),
    "beit": ("BeitModel", "BeitConfig", {**SIZES, "use_relative_position_bias": True, "use_mean_pooling": False}),
    "beit mean": ("BeitModel", "BeitConfig", {**SIZES, "use_relative_position_bias": True}),
    "beit shared": (
        "BeitModel",
        "BeitConfig",
        {**SIZES, "use_shared_relative_position_bias": True, "use_mean_pooling": False, "use_mask_token": True},
    ),
    "beit classifier": ("BeitForImageClassification", "BeitConfig", {**SIZES, "use_relative_position_bias": True}),
    "vit_mae": ("ViTMAEModel", "ViTMAEConfig", {**SIZES, "mask_ratio": 0.0}),
    "videomae": ("VideoMAEModel", "VideoMAEConfig", {**SIZES, "num_frames": 4, "use_mean_pooling": False}),
    "videomae classifier": ("VideoMAEForVideoClassification", "VideoMAEConfig", {**SIZES, "num_frames": 4}),
}
BARE = {
    "vit classifier": "ViTModel",
    "dinov2 classifier": "Dinov2Model",
    "beit classifier": "BeitModel",
    "videomae classifier": "VideoMAEModel",
}
ONE_SIZE = ("videomae", "videomae classifier", "vjepa2")
"""Models of transformers that only accept the size in their configuration."""


def made(kind: str, **changes: Any) -> nn.Module:
    model_class, config_class, sizes = MODELS[kind]
    torch.manual_seed(0)
    model = getattr(transformers, model_class)(getattr(transformers, config_class)(**{**sizes, **changes}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def theirs(kind: str, model: nn.Module, pixels: Tensor) -> Tensor:
    """Returns the last hidden state of transformers' encoder: (B, N, D)."""
    inner = {"vit classifier": "vit", "beit classifier": "beit", "videomae classifier": "videomae"}.get(kind)
    inner = "dinov2" if kind == "dinov2 classifier" else inner
    encoder = getattr(model, inner) if inner else model
    if kind == "vjepa2":
        return encoder(pixels, skip_predictor=True).last_hidden_state
    resized: dict[str, Any] = {"interpolate_pos_encoding": True} if kind.startswith("vit") else {}
    if kind == "vit_mae":
        num_patches = (pixels.shape[-1] // 8) * (pixels.shape[-2] // 8)
        resized["noise"] = torch.arange(num_patches).float().expand(len(pixels), -1)  # keeps all, in their order
    return encoder(pixels, **resized).last_hidden_state


def ours(weights: NetworkWeights, pixels: Tensor) -> Tensor:
    """Returns all tokens of our encoder, with class token and registers first."""
    encoder = weights.build_network()
    clips = pixels if pixels.ndim == 5 else pixels[:, None]
    return encoder.tokens(clips, positions=weights.resampling)


def pixels_for(kind: str, *size: int) -> Tensor:
    torch.manual_seed(1)
    is_clip = kind.startswith(("vjepa2", "videomae"))
    return torch.randn(2, 4, 3, *size) if is_clip else torch.randn(2, 3, *size)


@pytest.mark.parametrize("kind", MODELS)
@torch.no_grad()
def test_features_are_equal_after_reading_and_after_writing(kind: str, tmp_path: Path) -> None:
    """Compares features to 1e-5 at the training size, also for the folder that is written here and loaded there."""
    model, pixels = made(kind), pixels_for(kind, 32, 32)
    model.save_pretrained(tmp_path / "theirs")
    weights, _ = read_weights(tmp_path / "theirs")
    expected = theirs(kind, model, pixels)
    torch.testing.assert_close(ours(weights, pixels), expected, atol=1e-5, rtol=0)

    for version in ("v4", "v5"):
        model_type = "vit_mae" if kind == "vit_mae" else None
        write_huggingface(tmp_path / version, weights, version=version, model_type=model_type)
        back_class = getattr(transformers, BARE.get(kind, MODELS[kind][0]))
        back, report = back_class.from_pretrained(tmp_path / version, output_loading_info=True)
        assert not report["unexpected_keys"], report
        assert not report["mismatched_keys"], report
        assert all(key.startswith(("pooler.", "predictor.")) for key in report["missing_keys"]), report
        bare = kind.removesuffix(" classifier")
        torch.testing.assert_close(theirs(bare, back.eval(), pixels), expected, atol=1e-5, rtol=0)
        again, _ = read_weights(tmp_path / version)
        assert again.encoder == weights.encoder
        for name, tensor in weights.encoder_tensors.items():
            assert torch.equal(again.encoder_tensors[name], tensor), name


@pytest.mark.parametrize("kind", [kind for kind in MODELS if kind not in ONE_SIZE])
@torch.no_grad()
def test_features_at_another_size_equal_those_of_transformers(kind: str, tmp_path: Path) -> None:
    """Compares features to 1e-5 at 24x48 instead of 32x32, with each class's own way of resizing its positions."""
    model, pixels = made(kind), pixels_for(kind, 24, 48)
    model.save_pretrained(tmp_path)
    weights, _ = read_weights(tmp_path)
    torch.testing.assert_close(ours(weights, pixels), theirs(kind, model, pixels), atol=1e-5, rtol=0)


@torch.no_grad()
def test_vjepa2_at_another_size_equals_a_model_built_for_it(tmp_path: Path) -> None:
    """V-JEPA 2 in transformers takes rows and columns from the size in its configuration."""
    model, other = made("vjepa2"), made("vjepa2", crop_size=48, frames_per_clip=8)
    other.load_state_dict(model.state_dict())
    model.save_pretrained(tmp_path)
    weights, _ = read_weights(tmp_path)
    pixels = torch.randn(1, 8, 3, 48, 48)
    torch.testing.assert_close(ours(weights, pixels), theirs("vjepa2", other, pixels), atol=1e-5, rtol=0)


def test_pixel_statistics_of_the_preprocessor_take_precedence(tmp_path: Path) -> None:
    made("vit").save_pretrained(tmp_path)
    assumed, _ = read_weights(tmp_path)
    assert (assumed.pixels.mean, assumed.list_facts()["pixels_known_from"][:7]) == ((0.5, 0.5, 0.5), "assumed")
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}')
    stated, _ = read_weights(tmp_path)
    assert stated.pixels == Pixels(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    assert stated.list_facts()["pixels_known_from"] == "preprocessor_config.json"


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("dinov3", {"use_gated_mlp": True}, "hidden_act of 'gelu'"),
        ("beit", {"use_absolute_position_embeddings": True}, "added and relative positions"),
        ("beit", {"layer_scale_init_value": 0.0}, None),
        ("vit", {"hidden_act": "relu"}, "hidden_act of 'relu'"),
    ],
)
def test_unsupported_options_are_refused(
    kind: str, changes: dict[str, Any], message: str | None, tmp_path: Path
) -> None:
    made(kind, **changes).save_pretrained(tmp_path)
    if message is None:
        assert not read_weights(tmp_path)[0].encoder.layer_scale
        return
    with pytest.raises(Exception, match=message):
        read_weights(tmp_path)
