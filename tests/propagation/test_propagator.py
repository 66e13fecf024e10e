"""Propagation equals the published code and the dense procedure, in every combination of settings."""

import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from kinema.propagation.propagation_config import Precision, PropagationConfig
from kinema.propagation.propagator import Propagator, propagate
from kinema.protocols.registry import get_protocol
from tests.propagation.drifting_clips import make_clip, make_config, propagate_clip, propagate_densely
from tests.realdata import real_data

SETTINGS = (
    "a_default",
    "a_small_window",
    "a_short_queue_topk1",
    "a_wide",
    "b_crw",
    "b_cropmae",
    "b_small_disc",
    "b_short",
)


def convert_setting(setting: dict, precision: Precision) -> PropagationConfig:
    dino = setting["lineage"] == "A"
    return PropagationConfig(
        context=setting["queue" if dino else "context"],
        padding="none" if dino else "first_frame",
        window="square" if dino else "disc",
        radius=setting["window_radius"],
        window_covers_first=dino,
        top_k=setting["topk"],
        temperature=setting["temperature"],
        normalization="exp_divide" if dino else "softmax",
        precision=precision,
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", SETTINGS)
def test_equals_the_published_code(name: str, precision: Precision) -> None:
    root = real_data("propagation_reference")
    config = convert_setting(json.loads((root / "settings.json").read_text())[name], precision)
    given = np.load(root / "input.npz")
    with np.load(root / f"{name}.npz") as archive:
        (expected,) = (archive[key] for key in archive.files)
    ours = propagate_clip(torch.from_numpy(given["features"]), torch.from_numpy(given["first_labels"]), config)
    torch.testing.assert_close(ours, torch.from_numpy(expected), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "protocol"), [("a_default", "dino_480p"), ("b_crw", "crw"), ("b_cropmae", "cropmae_480x880")]
)
def test_the_registered_protocol_equals_the_published_code(name: str, protocol: str) -> None:
    root = real_data("propagation_reference")
    given = np.load(root / "input.npz")
    with np.load(root / f"{name}.npz") as archive:
        (expected,) = (archive[key] for key in archive.files)
    config = get_protocol(protocol).propagation
    ours = propagate_clip(torch.from_numpy(given["features"]), torch.from_numpy(given["first_labels"]), config)
    torch.testing.assert_close(ours, torch.from_numpy(expected), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["dino_480p", "rsp", "ino_davis", "dinov3_s", "kinema_1"])
@pytest.mark.parametrize("repeats", [2, 3, 6])
def test_repeated_frames_keep_all_ties_as_dino_does(name: str, repeats: int) -> None:
    config = get_protocol(name).propagation
    features, labels = make_clip(3, frames=2, h=5, w=6)
    still = features.repeat_interleave(repeats, dim=0)
    expected = propagate_densely(still, labels, config)
    torch.testing.assert_close(propagate_clip(still, labels, config), expected, rtol=0, atol=1e-5)
    cut = propagate_densely(still, labels, replace(config, normalization="softmax"))
    assert (expected - cut).abs().max() > 1e-3  # otherwise the test could not fail


@pytest.mark.parametrize("covers", [True, False])
@pytest.mark.parametrize("padding", ["none", "counted", "first_frame"])
@pytest.mark.parametrize(
    ("h", "w", "window", "radius", "context", "top_k", "tile"),
    [
        (7, 11, "square", 2, 3, 5, 4),  # the grid is not a multiple of the tile
        (9, 5, "disc", 2.5, 2, 4, 3),
        (5, 6, "square", 1.9, 2, 40, 8),  # top_k exceeds the number of candidates
        (4, 7, "disc", 50, 3, 6, 2),  # the window is larger than the grid
        (3, 3, "disc", 1, 0, 3, 1),  # only the same token of the first frame
        (1, 8, "square", 30, 6, 2, 8),
        (9, 8, "disc", 5, 1, 60, 4),  # an offset of (3, 4) lies exactly at the radius and is outside
        (9, 8, "disc_inclusive", 5, 1, 60, 4),  # the same offset is inside
        (6, 9, "disc_inclusive", 2.5, 2, 4, 5),
    ],
)
def test_equals_the_dense_procedure(h, w, window, radius, context, top_k, tile, padding, covers) -> None:
    config = PropagationConfig(
        context=context,
        padding=padding,
        window=window,
        radius=radius,
        window_covers_first=covers,
        top_k=top_k,
        temperature=0.1,
        tile=tile,
    )
    features, labels = make_clip(h * w, frames=6, h=h, w=w)
    ours = propagate_clip(features, labels, config)
    torch.testing.assert_close(ours, propagate_densely(features, labels, config), rtol=0, atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("covers", [True, False])
@pytest.mark.parametrize("padding", ["none", "first_frame"])
@pytest.mark.parametrize("top_k", [1, 4, 11])
def test_exp_divide_keeps_all_ties_with_the_kth(top_k: int, padding: str, covers: bool, precision: str) -> None:
    config = make_config(
        top_k=top_k,
        padding=padding,
        window_covers_first=covers,
        normalization="exp_divide",
        similarity="dot",
        temperature=1,
        precision=precision,
    )
    generator = torch.Generator().manual_seed(top_k)
    features = torch.randint(-1, 2, (5, 6, 7, 3), generator=generator).float()  # integer products give many ties
    labels = torch.rand(6, 7, 3, generator=generator).softmax(dim=-1)
    expected = propagate_densely(features, labels, config, keys=features.double().numpy())
    torch.testing.assert_close(propagate_clip(features, labels, config), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("top_k", [2, 7])
def test_still_video_keeps_the_ties_of_all_frames(top_k: int, precision: str) -> None:
    features, labels = make_clip(9, frames=1, h=7, w=9, width=50)
    still = features.expand(6, -1, -1, -1)
    config = make_config(context=4, top_k=top_k, normalization="exp_divide", precision=precision)
    expected = propagate_densely(still, labels, config)
    torch.testing.assert_close(propagate_clip(still, labels, config), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_frames_are_found_by_their_keys(precision: str) -> None:
    config = make_config(similarity="dot", precision=precision)
    features, labels = make_clip(10, frames=5, h=6, w=7)
    keys, _ = make_clip(11, frames=5, h=6, w=7)
    propagator = Propagator(config)
    propagator.start(features[0], labels, keys=keys[0])
    ours = [propagator.step(frame, keys=key) for frame, key in zip(features[1:], keys[1:], strict=True)]
    expected = propagate_densely(features, labels, config, keys=keys.double().numpy())
    torch.testing.assert_close(torch.stack(ours), expected, rtol=0, atol=1e-5)


def test_half_precision_is_close_to_fp32() -> None:
    features, labels = make_clip(13, frames=5, h=9, w=11, width=32)
    ours = propagate_clip(features, labels, make_config(precision="half"))
    torch.testing.assert_close(ours, propagate_clip(features, labels, make_config(precision="fp32")), rtol=0, atol=0.02)
    assert not torch.equal(ours, propagate_clip(features, labels, make_config(precision="fp32")))


def test_the_tile_does_not_change_labels() -> None:
    features, labels = make_clip(0, frames=4, h=10, w=13)
    torch.testing.assert_close(
        propagate_clip(features, labels, make_config(tile=3)),
        propagate_clip(features, labels, make_config(tile=64)),
        rtol=0,
        atol=1e-6,
    )


def test_cosine_ignores_the_length_of_features() -> None:
    features, labels = make_clip(1, frames=3, h=6, w=6)
    scales = torch.rand(3, 6, 6, 1, generator=torch.Generator().manual_seed(2)) * 50 + 0.1
    torch.testing.assert_close(
        propagate_clip(features * scales, labels, make_config()), propagate_clip(features, labels, make_config())
    )


def test_streams_one_frame_at_a_time() -> None:
    features, labels = make_clip(3, frames=5, h=4, w=4)
    read_ids = []

    def stream() -> Iterator[Tensor]:
        for index, frame in enumerate(features):
            read_ids.append(index)
            yield frame

    results = propagate(stream(), labels, make_config())
    assert torch.equal(next(results), labels)
    assert read_ids == [0]
    next(results)
    assert read_ids == [0, 1]
