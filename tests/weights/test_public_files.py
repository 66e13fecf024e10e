"""Files of the papers' public code give the same numbers here as that code printed."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kinema.models.decoders import PatchDecoder
from kinema.models.masked_decoder import MaskedDecoder
from kinema.ops.masking import Mask
from kinema.ops.tokens import take_tokens
from kinema.weights.formats.infer import build_decoder
from kinema.weights.network import NetworkWeights
from kinema.weights.read import read_weights
from tests.methods.test_public_code import by_token, load, mask_of
from tests.realdata import real_data

TOLERANCE: dict[str, Any] = {"atol": 1e-5, "rtol": 0}


def save_and_read(
    folder: Path, tensors: dict[str, Tensor], config: dict[str, Any], *, wrapper: str = "model"
) -> NetworkWeights:
    """Saves tensors as the paper's trainer does and reads the file."""
    torch.save({wrapper: tensors, "epoch": 1, "args": Namespace(lr=0.1)}, folder / "checkpoint.pth")
    heads, decoder = config.get("num_heads") or config["encoder_num_heads"], config.get("decoder_num_heads", 1)
    size = config.get("img_size", 224)
    return read_weights(f"{folder / 'checkpoint.pth'}#heads={heads},decoder-heads={decoder},size={size}")[0]


def build_decoder_with_weights(weights: NetworkWeights) -> Any:
    assert weights.decoder is not None
    assert weights.decoder_tensors is not None
    values = weights.decoder_tensors["pred.weight"].shape[0]
    decoder = build_decoder(weights.decoder, weights.encoder, patch_values=values)
    decoder.load_state_dict(weights.decoder_tensors)
    return decoder


@torch.no_grad()
def test_mae(tmp_path: Path) -> None:
    arrays, tensors, config = load("mae")
    weights = save_and_read(tmp_path, tensors, config)
    assert weights.format == "MAE with its decoder"
    assert weights.encoder.positions == "sincos"
    mask, decoder = mask_of(arrays), build_decoder_with_weights(weights)
    encoded = weights.build_network()(arrays["image"], mask)
    torch.testing.assert_close(encoded, by_token(arrays["encoded"], arrays), **TOLERANCE)
    assert isinstance(decoder, MaskedDecoder)
    expected = take_tokens(arrays["prediction"], mask.target_ids)
    torch.testing.assert_close(decoder(encoded, mask), expected, **TOLERANCE)


@torch.no_grad()
def test_siammae_of_cropmae(tmp_path: Path) -> None:
    arrays, tensors, config = load("siammae_cropmae")
    weights = save_and_read(tmp_path, tensors, config)
    assert weights.format.startswith("CropMAE or CatMAE")
    mask, decoder, encoder = mask_of(arrays), build_decoder_with_weights(weights), weights.build_network()
    assert isinstance(decoder, PatchDecoder)
    past, future = arrays["frames"].unbind(1)
    predicted = decoder(encoder(future, mask), mask, encoder(past))
    torch.testing.assert_close(predicted, arrays["prediction"], **TOLERANCE)


@torch.no_grad()
def test_vicmae(tmp_path: Path) -> None:
    arrays, tensors, config = load("vicmae")
    weights = save_and_read(tmp_path, tensors, config)
    assert weights.format == "ViC-MAE"
    assert [len(names) for names in weights.aside.values()] == [16]
    first = {name: arrays[name][0] for name in ("ids_keep", "mask", "encoded", "prediction")}
    mask = mask_of(first)
    encoded = weights.build_network()(arrays["views"][:, 0], mask)
    torch.testing.assert_close(encoded, by_token(first["encoded"], first), **TOLERANCE)
    predicted = build_decoder_with_weights(weights)(encoded, mask)
    torch.testing.assert_close(predicted, take_tokens(first["prediction"], mask.target_ids), **TOLERANCE)


@pytest.mark.parametrize("wrapper", ["model", "module"])
@torch.no_grad()
def test_videomae(wrapper: str, tmp_path: Path) -> None:
    arrays, tensors, config = load("videomae")
    weights = save_and_read(tmp_path, tensors, config, wrapper=wrapper)
    assert weights.format.startswith("VideoMAE with its decoder")
    assert weights.computed == ("pos_embed", "decoder pos_embed")
    torch.testing.assert_close(weights.encoder_tensors["pos_embed"], arrays["encoder_pos_embed"], **TOLERANCE)
    mask = Mask(visible_ids=arrays["ids_visible"], target_ids=arrays["ids_masked"], num_tokens=128)
    encoded = weights.build_network()(arrays["clip"].transpose(1, 2), mask)
    torch.testing.assert_close(encoded, arrays["encoded"], **TOLERANCE)
    torch.testing.assert_close(build_decoder_with_weights(weights)(encoded, mask), arrays["prediction"], **TOLERANCE)


@torch.no_grad()
def test_dino_at_three_sizes(tmp_path: Path) -> None:
    folder = real_data("method_reference", "vit_forward")
    arrays = {name: torch.from_numpy(array) for name, array in np.load(folder / "data.npz").items()}
    tensors = {name: torch.from_numpy(array) for name, array in np.load(folder / "state_dict.npz").items()}
    torch.save(tensors, tmp_path / "dino.pth")
    encoder = read_weights(f"{tmp_path / 'dino.pth'}#heads=3")[0].build_network()
    for size in ("native", "wide", "samecount"):
        image = arrays[f"image_{size}"]
        for layer, expected in ((-2, arrays[f"inter_{size}"][0]), (-1, arrays[f"inter_{size}"][1])):
            found = encoder.tokens(image[:, None], layer=layer, positions="interpolated_offset")
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
