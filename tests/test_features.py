"""Each feature setting has the effect that its documentation describes."""

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from kinema.errors import ConfigError
from kinema.features import Backbone, FeatureExtractor, PixelPatches, WeightsSource, resize_frame
from kinema.models.vit import ViT
from kinema.models.vit_config import ViTConfig
from kinema.ops.pixels import standardize
from kinema.settings import FeatureSettings, InputSize, Pooling
from tests.labeling.small import moving_square

SOURCE = WeightsSource(source="test", sha256=None)
SETTINGS = FeatureSettings(size=InputSize(short_side=48, multiple=16))


@pytest.fixture(scope="module")
def vit() -> ViT:
    torch.manual_seed(0)
    return ViT(ViTConfig(width=48, depth=3, num_heads=3, image_size=64)).eval()


def _dense(backbone: Backbone, frames: np.ndarray | None = None, **changes: Any) -> torch.Tensor:
    settings = replace(SETTINGS, **changes)
    return FeatureExtractor(backbone, settings, source=SOURCE).dense(moving_square(2) if frames is None else frames)


def _standardize(frames: np.ndarray, settings: FeatureSettings = SETTINGS) -> torch.Tensor:
    pixels = (frames / 255.0 - np.array(settings.mean)) / np.array(settings.std)
    return torch.from_numpy(pixels).float().permute(0, 3, 1, 2)


def test_features_are_the_network_s_for_each_frame_alone(vit: ViT) -> None:
    frames = moving_square(3)
    with torch.no_grad():
        expected = vit.dense(_standardize(frames), layer=-1, positions="interpolated_offset")
    features = _dense(vit, frames)
    assert features.shape == (3, 3, 5, 48)
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-5)
    assert not features.requires_grad


def test_layer_selects_a_block(vit: ViT) -> None:
    outputs = [_dense(vit, layer=layer) for layer in (1, 2, 3)]
    assert torch.equal(_dense(vit, layer=-1), outputs[2])
    assert torch.equal(_dense(vit, layer=-3), outputs[0])
    assert torch.equal(_dense(vit, layer=0), outputs[0])  # the middle one of three
    assert not torch.allclose(outputs[0], outputs[1])
    seen = []
    hook = vit.blocks[1].register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    _dense(vit, moving_square(1), layer=2)
    hook.remove()
    with torch.no_grad():
        normed = vit.norm(seen[0])[:, 1:].unflatten(1, (3, 5))  # the class token is not a patch
    torch.testing.assert_close(normed, outputs[1][:1])
    for layer in (4, 40, -4):
        with pytest.raises(ConfigError, match="use 1 to 3"):
            _dense(vit, layer=layer)


def test_centered_subtracts_the_first_frame_s_mean(vit: ViT) -> None:
    plain, centered = _dense(vit), _dense(vit, centered=True)
    torch.testing.assert_close(plain - centered, plain[0].mean(dim=(0, 1)).expand_as(plain))
    assert centered[0].mean(dim=(0, 1)).abs().max() < 1e-5
    assert centered[1].mean(dim=(0, 1)).abs().max() > 1e-4  # a stream cannot know the mean of later frames


def test_mean_and_std_standardize_pixels() -> None:
    settings = replace(SETTINGS, mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0))
    frames = moving_square(1)
    features = _dense(PixelPatches(16), frames, mean=settings.mean, std=settings.std)
    expected = _standardize(frames, settings)[0, :, 16:32, 32:48]
    torch.testing.assert_close(features[0, 1, 2].sort().values, expected.flatten().sort().values, atol=1e-5, rtol=1e-5)
    for std in ((0.0, 1.0, 1.0), (-1.0, 1.0, 1.0), (float("nan"), 1.0, 1.0)):
        with pytest.raises(ConfigError, match="give more than 0"):
            FeatureSettings(std=std)


@pytest.mark.parametrize(
    ("resize", "flag"),
    [
        ("nearest", cv2.INTER_NEAREST_EXACT),
        ("bilinear", cv2.INTER_LINEAR),
        ("bicubic", cv2.INTER_CUBIC),
        ("area", cv2.INTER_AREA),
    ],
)
def test_resize_uses_opencv_s_interpolation(resize: str, flag: int) -> None:
    frame = moving_square(1)[0]
    features = _dense(PixelPatches(16), frame[None], size=InputSize(fixed=(32, 64)), resize=resize)
    small = cv2.resize(frame, (64, 32), interpolation=flag)
    expected = _standardize(small[None])[0, :, :16, :16]
    torch.testing.assert_close(features[0, 0, 0].sort().values, expected.flatten().sort().values, atol=1e-5, rtol=1e-5)


def test_resize_matches_pillow() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    for height, width in ((16, 32), (64, 80)):
        nearest = Image.fromarray(frame).resize((width, height), Image.Resampling.NEAREST)
        assert np.array_equal(resize_frame(frame, (height, width), "nearest"), np.asarray(nearest))
        bicubic = Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)
        assert np.array_equal(resize_frame(frame, (height, width), "pillow_bicubic"), np.asarray(bicubic))
    mask = frame[..., 0]
    assert resize_frame(mask, (16, 32), "nearest").shape == (16, 32)
    assert np.array_equal(resize_frame(mask, (37, 53), "pillow_bicubic"), mask)


def test_tubelets_repeat_a_frame_or_slide(vit: ViT) -> None:
    torch.manual_seed(1)
    config = ViTConfig(
        width=48, depth=1, num_heads=3, image_size=64, num_frames=4, tubelet_size=2, positions="sincos_3d"
    )
    video = ViT(config).eval()
    frames = moving_square(3)
    pixels = _standardize(frames)
    clips = torch.stack(
        [pixels[[0, 0]], pixels[[0, 1]], pixels[[1, 2]]]
    )  # before the first frame, the first one is repeated
    with torch.no_grad():
        expected = video.dense_clips(clips, positions="interpolated_offset").squeeze(1)
    slides = _dense(video, frames, tubelet="slide")
    torch.testing.assert_close(slides, expected, atol=1e-5, rtol=1e-5)
    repeats = _dense(video, frames)
    torch.testing.assert_close(repeats[0], slides[0])
    assert not torch.allclose(repeats[1], slides[1], atol=1e-3)
    assert torch.equal(_dense(vit, frames, tubelet="slide"), _dense(vit, frames))
    changing = [frames[0], frames[0, :, :64], frames[1, :, :64]]
    read = FeatureExtractor(video, replace(SETTINGS, tubelet="slide"), source=SOURCE)
    assert [tuple(features.shape) for features in read.stream(iter(changing))] == [(3, 5, 48), (3, 4, 48), (3, 4, 48)]


def test_positions_differ_only_away_from_the_training_grid(vit: ViT) -> None:
    outputs = [_dense(vit, positions=kind) for kind in ("interpolated", "interpolated_offset", "recomputed")]
    assert not torch.allclose(outputs[0], outputs[1], atol=1e-3)
    assert not torch.allclose(outputs[0], outputs[2], atol=1e-3)
    at_training_size = [
        _dense(vit, positions=kind, size=InputSize(fixed=(64, 64)))
        for kind in ("interpolated", "interpolated_offset", "recomputed")
    ]
    torch.testing.assert_close(at_training_size[0], at_training_size[1])
    torch.testing.assert_close(at_training_size[0], at_training_size[2], atol=1e-5, rtol=1e-5)
    learned = ViT(ViTConfig(width=48, depth=1, num_heads=3, image_size=64, positions="learned"))
    with pytest.raises(ConfigError, match="learned positions cannot be recomputed"):
        _dense(learned, positions="recomputed")


def test_bf16_features_are_close_to_fp32(vit: ViT) -> None:
    full, half = _dense(vit), _dense(vit, precision="bf16")
    assert (full.dtype, half.dtype) == (torch.float32, torch.float32)
    assert not torch.equal(full, half)
    torch.testing.assert_close(full, half, atol=0.1, rtol=0.1)


@pytest.mark.parametrize(
    ("size", "frame", "expected"),
    [
        (InputSize(short_side=480, multiple=64), (480, 854), (480, 832)),
        (InputSize(short_side=480, multiple=64), (854, 480), (832, 480)),
        (InputSize(short_side=480, multiple=64, round_up=True), (480, 854), (480, 896)),
        (InputSize(long_side=480, multiple=16), (480, 854), (256, 480)),
        (InputSize(long_side=480, multiple=16), (854, 480), (480, 256)),
        (InputSize(fixed=(224, 320)), (480, 854), (224, 320)),
        (InputSize(short_side=32, multiple=64), (100, 110), (32, 64)),  # never below one multiple
        (InputSize(native=True, multiple=16), (480, 854), (480, 848)),
        (InputSize(native=True, multiple=16, round_up=True), (470, 854), (480, 864)),
        (InputSize(native=True, multiple=16), (9, 9), (16, 16)),
        (InputSize(native=True, multiple=16, large_as_720p=True), (1080, 1920), (720, 1280)),
        (InputSize(native=True, multiple=16, large_as_720p=True), (1088, 1920), (1088, 1920)),
        (InputSize(short_side=960, multiple=16, round_up=True), (480, 848), (960, 1696)),
    ],
)
def test_input_size(size: InputSize, frame: tuple[int, int], expected: tuple[int, int]) -> None:
    assert size.of(*frame) == expected
    extractor = FeatureExtractor(PixelPatches(16), FeatureSettings(size=size), source=SOURCE)
    assert extractor.input_size(*frame) == expected


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"short_side": 480, "long_side": 480},
        {"short_side": 480, "fixed": (32, 32)},
        {"native": True, "fixed": (32, 32)},
        {"native": True, "multiple": 0},
        {"short_side": 0},
        {"long_side": -16},
        {"fixed": (0, 32)},
        {"short_side": 480, "multiple": 0},
        {"short_side": 10**7},
    ],
)
def test_rejects_sizes_that_cannot_work(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        InputSize(**given)


def test_rejects_a_size_that_patches_do_not_divide() -> None:
    with pytest.raises(ConfigError, match="48x80 does not divide into patches of 7"):
        _dense(PixelPatches(7))


@pytest.mark.parametrize(
    ("size", "patch", "fix"),
    [
        (InputSize(short_side=480, multiple=64), 14, "short_side to 476 and features.size.multiple to 70"),
        (InputSize(long_side=880, multiple=64), 14, "long_side to 882 and features.size.multiple to 70"),
        (InputSize(fixed=(480, 880)), 14, "set features.size.fixed to 476 882"),
        (InputSize(native=True, multiple=8), 14, "set features.size.multiple to 14"),
        (InputSize(native=True, multiple=14, large_as_720p=True), 14, "set features.size.large_as_720p to False"),
    ],
)
def test_the_error_names_a_size_that_fits(size: InputSize, patch: int, fix: str) -> None:
    extractor = FeatureExtractor(PixelPatches(patch), FeatureSettings(size=size), source=SOURCE)
    with pytest.raises(ConfigError, match=f"{fix}$"):
        extractor.input_size(1080, 1920)


def test_other_settings_share_the_network(vit: ViT) -> None:
    extractor = FeatureExtractor(vit, SETTINGS, source=SOURCE)
    other = extractor.with_settings(replace(SETTINGS, layer=1))
    assert other.backbone is vit
    assert (other.source, other.device, other.settings.layer) == (SOURCE, torch.device("cpu"), 1)
    assert extractor.settings == SETTINGS


@pytest.mark.parametrize("pooling", ["mean", "class", "class_mean", "last4_class"])
def test_pooled_vector_is_what_its_name_says(pooling: Pooling) -> None:
    torch.manual_seed(0)
    encoder = ViT(ViTConfig(width=16, depth=5, num_heads=2, patch_size=8, image_size=32)).eval()
    settings = FeatureSettings(size=InputSize(fixed=(32, 32)), precision="fp32")
    extractor = FeatureExtractor(encoder, settings, source=WeightsSource(source="test", sha256=None))
    frames = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    with torch.no_grad():
        pixels = standardize(torch.from_numpy(frames).permute(0, 3, 1, 2))
        normed = [encoder.norm(encoder.through_blocks(encoder.embed(pixels), depth)) for depth in range(1, 6)]
    last = normed[-1]
    expected = {
        "mean": last[:, 1:].mean(dim=1),
        "class": last[:, 0],
        "class_mean": torch.cat([last[:, 0], last[:, 1:].mean(dim=1)], dim=1),
        "last4_class": torch.cat([tokens[:, 0] for tokens in normed[1:]], dim=1),
    }[pooling].mean(dim=0)
    torch.testing.assert_close(extractor.pooled(frames, pooling), expected, atol=1e-5, rtol=1e-4)


def test_rejects_class_pooling_without_a_class_token() -> None:
    extractor = FeatureExtractor(PixelPatches(8), source=WeightsSource(source="pixels", sha256=None))
    with pytest.raises(ConfigError, match="no class token"):
        extractor.pooled(np.zeros((1, 32, 32, 3), np.uint8), "class")
