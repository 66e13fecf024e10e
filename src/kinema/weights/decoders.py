"""A decoder on disk: `decoder.safetensors` beside the encoder it was trained with.

Reading here is of those that attend to another frame; masked autoencoders' are read with their encoder.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from kinema.errors import WeightsError
from kinema.files import sha256_of, sync_to_disk
from kinema.models.decoders import PatchDecoder
from kinema.models.vit_config import CrossDecoderConfig, MaskedDecoderConfig, ViTConfig
from kinema.weights.files import CONFIG, built_config, check_tensors, read_config

DECODER_TENSORS = "decoder.safetensors"


def save_decoder(
    folder: Path, tensors: Mapping[str, Tensor], config: CrossDecoderConfig | MaskedDecoderConfig
) -> dict[str, Any]:
    """Writes `decoder.safetensors` into `folder`; gives what `config.json` has to say of it.

    It is written before the encoder's files: killed between them, it leaves files that reading refuses.
    """
    partial = folder / f".{DECODER_TENSORS}.partial"
    try:
        partial.write_bytes(save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}))
        sha256 = sha256_of(partial)
        sync_to_disk(partial)
        os.replace(partial, folder / DECODER_TENSORS)
    finally:
        partial.unlink(missing_ok=True)
    if isinstance(config, MaskedDecoderConfig):
        return {"network": {"decoder": {"config": dataclasses.asdict(config), "sha256": sha256}}}
    return {"decoder": {**dataclasses.asdict(config), "sha256": sha256}}


def load_decoder(source: Path) -> PatchDecoder:
    """The decoder of a run folder, or of the folder that an encoder's file is in.

    WeightsError where there is none, it does not belong to the `config.json` beside it, or cannot be read.
    """
    encoder, config, stated = _described(source)
    file = _folder(source) / DECODER_TENSORS
    if not file.is_file():
        raise WeightsError(f"no {DECODER_TENSORS} beside the encoder", where=str(source), fix="copy it there again")
    check_tensors(file, config, lambda claimed: _built(claimed, encoder))
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != stated:
        fix = "go on with the training run, which writes both anew, or copy both again"
        raise WeightsError(f"{CONFIG} was written for another decoder", where=str(file), fix=fix)
    decoder, tensors = _built(config, encoder), load(content)
    if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        raise WeightsError("the decoder holds values that are not finite", where=str(file), fix="train again")
    decoder.load_state_dict(tensors)
    return decoder.eval()


def has_decoder(source: Path) -> bool:
    """Whether `config.json` describes such a decoder."""
    try:
        return isinstance(json.loads((_folder(source) / CONFIG).read_text(encoding="utf-8-sig")).get("decoder"), dict)
    except (OSError, ValueError, AttributeError):
        return False


def decoder_config(source: Path) -> CrossDecoderConfig:
    """What the decoder of such a folder is; WeightsError where it holds none."""
    return _described(source)[1]


def new_decoder(source: Path) -> PatchDecoder:
    """A decoder with fresh weights, of the kind that such a folder holds; WeightsError where it holds none."""
    encoder, config, _ = _described(source)
    return _built(config, encoder).eval()


def _built(config: CrossDecoderConfig, encoder: ViTConfig) -> PatchDecoder:
    return PatchDecoder(
        config,
        encoder_width=encoder.width,
        grid=encoder.grid,
        patch_values=encoder.patch_values,
        attention=config.attention,
        order=config.order,
        memory_positions=config.memory_positions,
    )


def _described(source: Path) -> tuple[ViTConfig, CrossDecoderConfig, str | None]:
    """What `config.json` says of encoder and decoder, and the SHA-256 of the decoder's tensors."""
    encoder, file = read_config(source), _folder(source) / CONFIG
    described = json.loads(file.read_text(encoding="utf-8-sig")).get("decoder")
    if not isinstance(described, dict):
        raise WeightsError(
            "no decoder that attends from frame to frame is described there",
            where=str(file),
            fix="give the run folder of a SiamMAE, or leave features.affinity at features",
        )
    fields = {name: value for name, value in described.items() if name != "sha256"}
    return encoder, built_config(CrossDecoderConfig, fields, file), described.get("sha256")


def _folder(source: Path) -> Path:
    return source if source.is_dir() else source.parent
