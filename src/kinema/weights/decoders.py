"""Decoders on disk: `decoder.safetensors` next to the encoder it was trained with.

This module reads the decoders that attend to another frame (SiamMAE's). The decoders of masked autoencoders are read
together with their encoder, in `weights.files`.
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
from kinema.weights.files import CONFIG, DECODER, build_config, check_tensors, read_config
from kinema.weights.formats.infer import build_cross_decoder


def save_decoder(
    folder: Path, tensors: Mapping[str, Tensor], config: CrossDecoderConfig | MaskedDecoderConfig
) -> dict[str, Any]:
    """Writes `decoder.safetensors` into `folder` and returns the entries that describe it in `config.json`.

    Call it before `save_encoder`, so that a process killed in between leaves files that are refused, not misread.
    """
    partial = folder / f".{DECODER}.partial"
    try:
        partial.write_bytes(save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}))
        sha256 = sha256_of(partial)
        sync_to_disk(partial)
        os.replace(partial, folder / DECODER)
    finally:
        partial.unlink(missing_ok=True)
    if isinstance(config, MaskedDecoderConfig):
        return {"network": {"decoder": {"config": dataclasses.asdict(config), "sha256": sha256}}}
    return {"decoder": {**dataclasses.asdict(config), "sha256": sha256}}


def load_decoder(source: Path) -> PatchDecoder:
    """Loads the decoder of a run folder, or of the folder that contains an encoder's file.

    Raises WeightsError if there is none, if it does not belong to the `config.json` next to it, or if it is damaged.
    """
    encoder, config, expected_sha256 = _read_description(source)
    file = _folder_of(source) / DECODER
    if not file.is_file():
        raise WeightsError(f"no {DECODER} next to the encoder", where=str(source), fix="copy it there again")
    check_tensors(file, config, lambda claimed: build_cross_decoder(claimed, encoder))
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != expected_sha256:
        fix = "resume the training run, which writes both again, or copy both again"
        raise WeightsError(f"{CONFIG} was written for another decoder", where=str(file), fix=fix)
    decoder, tensors = build_cross_decoder(config, encoder), load(content)
    if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        raise WeightsError("the decoder contains values that are not finite", where=str(file), fix="train again")
    decoder.load_state_dict(tensors)
    return decoder.eval()


def has_decoder(source: Path) -> bool:
    """Whether `config.json` describes a decoder that attends to another frame."""
    try:
        return isinstance(
            json.loads((_folder_of(source) / CONFIG).read_text(encoding="utf-8-sig")).get("decoder"), dict
        )
    except (OSError, ValueError, AttributeError):
        return False


def read_decoder_config(source: Path) -> CrossDecoderConfig:
    """Reads the configuration of a folder's decoder; raises WeightsError if there is none."""
    return _read_description(source)[1]


def build_untrained_decoder(source: Path) -> PatchDecoder:
    """Builds a decoder of the kind in a folder, without its weights; raises WeightsError if there is none."""
    encoder, config, _ = _read_description(source)
    return build_cross_decoder(config, encoder).eval()


def _read_description(source: Path) -> tuple[ViTConfig, CrossDecoderConfig, str | None]:
    """Reads the encoder's and the decoder's configuration, and the SHA-256 of the decoder's file."""
    encoder, file = read_config(source), _folder_of(source) / CONFIG
    entry = json.loads(file.read_text(encoding="utf-8-sig")).get("decoder")
    if not isinstance(entry, dict):
        raise WeightsError(
            "no decoder that attends from frame to frame is described there",
            where=str(file),
            fix="give the run folder of a SiamMAE, or leave features.affinity at features",
        )
    fields = {name: value for name, value in entry.items() if name != "sha256"}
    return encoder, build_config(CrossDecoderConfig, fields, file), entry.get("sha256")


def _folder_of(source: Path) -> Path:
    return source if source.is_dir() else source.parent
