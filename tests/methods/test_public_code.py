"""Our networks with the weights of the papers' public code: the same predictions, not only the same losses."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kinema.methods.configs import SiamMAEConfig, VideoMAEConfig
from kinema.methods.siammae import SiamMAE
from kinema.methods.vicmae import ViCMAE
from kinema.methods.vicmae_config import ViCMAEConfig
from kinema.methods.videomae import VideoMAE
from kinema.models.decoders import CrossBlock, PatchDecoder
from kinema.models.vit import ViT
from kinema.models.vit_config import DecoderConfig, MaskedDecoderConfig, ProjectorConfig, ViTConfig
from kinema.ops.contrast import nt_xent
from kinema.ops.masking import Mask
from kinema.ops.pixels import standardize
from kinema.ops.tokens import masked_mean, normalize_patches, patchify, take_tokens
from tests.realdata import real_data

TOLERANCE = {"atol": 1e-5, "rtol": 0}


def load(name: str) -> tuple[dict[str, Tensor], dict[str, Tensor], dict]:
    folder = real_data("method_reference", name)
    meta = json.loads((folder / "meta.json").read_text())
    return tensors(folder / "arrays.npz"), tensors(folder / "weights.npz"), meta["config"]


def tensors(file: Path) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in np.load(file).items()}


def rename(weights: dict[str, Tensor], names: dict[str, str]) -> dict[str, Tensor]:
    """The tensors whose keys start with a key of `names`, that start replaced."""
    renamed = {}
    for key, tensor in weights.items():
        for start, ours in names.items():
            if key.startswith(start):
                renamed[ours + key.removeprefix(start)] = tensor
                break
    return renamed


ENCODER = {name: name for name in ("cls_token", "pos_embed", "patch_embed", "blocks", "norm")}
DECODER = {"mask_token": "mask_token", "decoder_pos_embed": "pos_embed"} | {
    f"decoder_{name}.": f"{name}." for name in ("embed", "blocks", "norm", "pred")
}


def mask_of(arrays: dict[str, Tensor]) -> Mask:
    hidden = arrays["mask"].bool()
    return Mask(
        visible_ids=arrays["ids_keep"].sort(dim=1).values,
        target_ids=torch.stack([row.nonzero().squeeze(1) for row in hidden]),
        num_tokens=hidden.shape[1],
    )


def by_token(encoded: Tensor, arrays: dict[str, Tensor]) -> Tensor:
    """The reference's encoder output with its patches, which come in drawn order, put in ascending order."""
    order = arrays["ids_keep"].argsort(dim=1)[..., None].expand(-1, -1, encoded.shape[-1])
    return torch.cat([encoded[:, :1], encoded[:, 1:].gather(1, order)], dim=1)


def vit_config(config: dict, image_size: int) -> ViTConfig:
    return ViTConfig(
        width=config["embed_dim"],
        depth=config["depth"],
        num_heads=config["num_heads"],
        patch_size=config["patch_size"],
        image_size=image_size,
    )


def decoder_config(config: dict, mlp_width: int | None = None) -> DecoderConfig:
    return DecoderConfig(
        width=config["decoder_embed_dim"],
        depth=config["decoder_depth"],
        num_heads=config["decoder_num_heads"],
        mlp_width=mlp_width,
    )


CROPMAE_BLOCK = {
    "self_attn.in_proj_": "attn.qkv.",
    "self_attn.out_proj.": "attn.proj.",
    "multihead_attn.out_proj.": "cross.proj.",
    "linear1.": "mlp.fc1.",
    "linear2.": "mlp.fc2.",
    "norm1.": "norm_self.",
    "norm2.": "norm_cross.",
    "norm3.": "norm_mlp.",
}


def cropmae_decoder(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    decoder = rename(weights, DECODER)
    blocks = [key for key in decoder if key.startswith("blocks.")]
    for key in blocks:
        _, number, name = key.split(".", 2)
        tensor = decoder.pop(key)
        for start, ours in CROPMAE_BLOCK.items():
            if name.startswith(start):
                decoder[f"blocks.{number}.{ours}{name.removeprefix(start)}"] = tensor
        if name.startswith("multihead_attn.in_proj_"):
            kind = name.removeprefix("multihead_attn.in_proj_")
            query, key_value = tensor.split([len(tensor) // 3, 2 * len(tensor) // 3])
            decoder[f"blocks.{number}.cross.q.{kind}"], decoder[f"blocks.{number}.cross.kv.{kind}"] = query, key_value
    return decoder


@torch.no_grad()
def test_siammae_as_cropmae_trains_it():
    arrays, weights, config = load("siammae_cropmae")
    method = SiamMAE(
        SiamMAEConfig(
            encoder=vit_config(config, config["img_size"]),
            decoder=decoder_config(config, mlp_width=config["decoder_ffn_dim"]),
            mask_ratio=config["mask_ratio"],
            block_order="post_norm",
            memory_positions=False,
        )
    )
    method.encoder.load_state_dict(rename(weights, ENCODER))
    method.decoder.load_state_dict(cropmae_decoder(weights))
    past, future = standardize(arrays["frames_u8"]).unbind(1)
    torch.testing.assert_close(past, arrays["frames"][:, 0], **TOLERANCE)
    mask = mask_of(arrays)
    torch.testing.assert_close(method.encoder(past), arrays["past_encoded"], **TOLERANCE)
    torch.testing.assert_close(method.encoder(future, mask), by_token(arrays["future_encoded"], arrays), **TOLERANCE)
    predicted = method.predict(past, future, mask)
    torch.testing.assert_close(predicted, arrays["prediction"], **TOLERANCE)
    torch.testing.assert_close(method.target(future), arrays["target"], **TOLERANCE)
    for target, expected in ((method.target(future), "loss"), (patchify(future, 16), "loss_without_norm_pix")):
        loss = masked_mean((predicted - target).square().mean(-1), mask.target_ids)
        torch.testing.assert_close(loss, arrays[expected], **TOLERANCE)
    probe = method.decoder.blocks[0](arrays["probe_decoder_tokens"], arrays["probe_decoder_memory"])
    torch.testing.assert_close(probe, arrays["probe_decoder_block"], **TOLERANCE)
    torch.testing.assert_close(method.encoder.blocks[0](arrays["probe_tokens"]), arrays["probe_block"], **TOLERANCE)


@torch.no_grad()
def test_pre_norm_blocks_as_rsp_has_them():
    arrays, weights, config = load("siammae_prenorm")
    names = {
        "norm1.": "norm_cross.",
        "norm_kv1.": "norm_memory.",
        "cattn.": "cross.",
        "norm3.": "norm_self.",
        "attn.": "attn.",
        "norm4.": "norm_mlp.",
        "mlp2.": "mlp.",
    }
    tokens = arrays["queries"]
    for number in range(config["blocks"]):
        block = CrossBlock(config["dim"], config["num_heads"], 4 * config["dim"], self_attention=True)
        block.load_state_dict(rename(weights, {f"decoder_blocks.{number}.{k}": v for k, v in names.items()}))
        tokens = block(tokens, arrays["memory"])
        torch.testing.assert_close(tokens, arrays[f"block_{number}"], **TOLERANCE)


@torch.no_grad()
def test_mae():
    arrays, weights, config = load("mae")
    encoder = ViT(vit_config(config, config["img_size"]))
    decoder = PatchDecoder(
        decoder_config(config), encoder_width=config["embed_dim"], grid=encoder.config.grid, patch_values=192
    )
    encoder.load_state_dict(rename(weights, ENCODER))
    decoder.load_state_dict(rename(weights, DECODER))
    image, mask = standardize(arrays["image_u8"]), mask_of(arrays)
    encoded = encoder(image, mask)
    torch.testing.assert_close(encoded, by_token(arrays["encoded"], arrays), **TOLERANCE)
    predicted = decoder(encoded, mask)
    torch.testing.assert_close(predicted, arrays["prediction"], **TOLERANCE)
    pixels = patchify(image, 8)
    targets = {"norm_pix": normalize_patches(pixels, per_channel=False), "pixels": pixels}
    for name, target in targets.items():
        torch.testing.assert_close(target, arrays[f"target_{name}"], **TOLERANCE)
        loss = masked_mean((predicted - target).square().mean(-1), mask.target_ids)
        torch.testing.assert_close(loss, arrays[f"loss_{name}"], **TOLERANCE)
    probe = decoder.blocks[0](arrays["probe_decoder_tokens"])
    torch.testing.assert_close(probe, arrays["probe_decoder_block"], **TOLERANCE)
    torch.testing.assert_close(encoder.norm(arrays["probe_tokens"]), arrays["probe_norm"], **TOLERANCE)


@torch.no_grad()
def test_mae_as_a_method():
    arrays, weights, config = load("mae")
    method = VideoMAE(
        VideoMAEConfig(
            encoder=vit_config(config, config["img_size"]),
            decoder=MaskedDecoderConfig(
                width=config["decoder_embed_dim"],
                depth=config["decoder_depth"],
                num_heads=config["decoder_num_heads"],
                embed_bias=True,
            ),
            mask="random",
            mask_ratio=config["mask_ratio"],
            floor="visible",
            target="patch_normalized",
            target_pixels="standardized",
        )
    )
    torch.testing.assert_close(method.encoder.pos_embed, weights["pos_embed"], **TOLERANCE)
    torch.testing.assert_close(method.decoder.pos_embed, weights["decoder_pos_embed"], **TOLERANCE)
    method.encoder.load_state_dict(rename(weights, ENCODER))
    method.decoder.load_state_dict(rename(weights, DECODER))
    mask, patches = mask_of(arrays), method.tubelets(arrays["image_u8"][:, None])
    assert method.mask(torch.arange(2)).visible_ids.shape == mask.visible_ids.shape
    predicted, target = method.predict(patches, mask), method.target(patches, mask)
    torch.testing.assert_close(predicted, take_tokens(arrays["prediction"], mask.target_ids), **TOLERANCE)
    torch.testing.assert_close(target, take_tokens(arrays["target_norm_pix"], mask.target_ids), **TOLERANCE)
    torch.testing.assert_close((predicted - target).square().mean(), arrays["loss_norm_pix"], **TOLERANCE)


VIDEOMAE = {
    "attn.q_bias": "attn.qkv.q_bias",
    "attn.v_bias": "attn.qkv.v_bias",
    "encoder_to_decoder.": "decoder.embed.",
    "decoder.head.": "decoder.pred.",
}


def videomae_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed = {"decoder.mask_token": weights["mask_token"]}
    for key, tensor in weights.items():
        for theirs, ours in VIDEOMAE.items():
            key = key.replace(theirs, ours)
        renamed |= {key: tensor} if key != "mask_token" else {}
    return renamed


@torch.no_grad()
def test_videomae():
    arrays, weights, config = load("videomae")
    method = VideoMAE(
        VideoMAEConfig(
            encoder=ViTConfig(
                width=config["encoder_embed_dim"],
                depth=config["encoder_depth"],
                num_heads=config["encoder_num_heads"],
                patch_size=config["patch_size"],
                image_size=config["img_size"],
                num_frames=config["num_frames"],
                tubelet_size=config["tubelet_size"],
                positions="sincos_1d",
                class_token=False,
                qkv_bias="query_value",
            ),
            decoder=MaskedDecoderConfig(
                width=config["decoder_embed_dim"],
                depth=config["decoder_depth"],
                num_heads=config["decoder_num_heads"],
            ),
            mask_ratio=config["mask_ratio"],
        )
    )
    for part in ("encoder", "decoder"):
        positions = getattr(method, part).pos_embed
        torch.testing.assert_close(positions, arrays[f"{part}_pos_embed"], **TOLERANCE)
        weights[f"{part}.pos_embed"] = positions
    method.load_state_dict(videomae_weights(weights))
    mask = Mask(visible_ids=arrays["ids_visible"], target_ids=arrays["ids_masked"], num_tokens=arrays["mask"].shape[1])
    assert method.mask(torch.arange(2)).visible_ids.shape == mask.visible_ids.shape
    tubelets = method.tubelets(arrays["clip_u8"])
    encoded = method.encoder(arrays["clip"].transpose(1, 2), mask)
    torch.testing.assert_close(encoded, arrays["encoded"], **TOLERANCE)
    predicted, target = method.predict(tubelets, mask), method.target(tubelets, mask)
    torch.testing.assert_close(predicted, arrays["prediction"], **TOLERANCE)
    torch.testing.assert_close(target, arrays["target"], **TOLERANCE)
    torch.testing.assert_close((predicted - target).square().mean(), arrays["loss"], **TOLERANCE)
    pixels = take_tokens(tubelets, mask.target_ids) / 255
    torch.testing.assert_close((predicted - pixels).square().mean(), arrays["loss_pixels"], **TOLERANCE)
    for part, probe in (("encoder", "probe"), ("decoder", "probe_decoder")):
        net, tokens = getattr(method, part), arrays[f"{probe}_tokens"]
        torch.testing.assert_close(net.blocks[0](tokens), arrays[f"{probe}_block"], **TOLERANCE)
        torch.testing.assert_close(net.norm(tokens), arrays[f"{probe}_norm"], **TOLERANCE)


@pytest.mark.parametrize("size", ["native", "wide", "samecount"])
@torch.no_grad()
def test_dino_features_at_any_size(size):
    folder = real_data("method_reference", "vit_forward")
    arrays = tensors(folder / "data.npz")
    config = json.loads((folder / "meta.json").read_text())["config"]
    encoder = ViT(
        ViTConfig(
            width=config["embed_dim"],
            depth=config["depth"],
            num_heads=config["num_heads"],
            patch_size=config["patch_size"],
            image_size=config["img_size"],
            positions="learned",
        )
    )
    encoder.load_state_dict(tensors(folder / "state_dict.npz"))
    for layer, expected in zip((2, 3), arrays[f"inter_{size}"], strict=True):
        dense = encoder.dense(arrays[f"image_{size}"], layer=layer, positions="interpolated_offset")
        torch.testing.assert_close(dense.flatten(1, 2), expected[:, 1:], atol=1e-4, rtol=0)


@torch.no_grad()
def test_vicmae():
    arrays, weights, config = load("vicmae")
    head = {"hidden": config["projector_hidden_dim"], "out": config["projector_out_dim"]}
    method = ViCMAE(
        ViCMAEConfig(
            encoder=vit_config(config, config["img_size"]),
            decoder=MaskedDecoderConfig(**asdict(decoder_config(config)), embed_bias=True),
            projector=ProjectorConfig(**head),
        )
    ).train()
    method.encoder.load_state_dict(rename(weights, ENCODER))
    method.decoder.load_state_dict(rename(weights, DECODER))
    method.compared.projector.load_state_dict(rename(weights, {"projector.": ""}))
    views = method.views(arrays["views_u8"])
    torch.testing.assert_close(views, arrays["views"].transpose(0, 1).flatten(0, 1), **TOLERANCE)
    given = {name: arrays[name].flatten(0, 1) for name in ("ids_keep", "mask")}
    mask = mask_of(given)
    tokens = method.encoder(views, mask)
    torch.testing.assert_close(tokens, by_token(arrays["encoded"].flatten(0, 1), given), **TOLERANCE)
    torch.testing.assert_close(method.compared.pool(tokens), arrays["pooled"].flatten(0, 1), **TOLERANCE)
    predicted = take_tokens(arrays["prediction"].flatten(0, 1), mask.target_ids)
    torch.testing.assert_close(method.decoder(tokens, mask), predicted, **TOLERANCE)
    pixel = method.reconstruction_loss(tokens, views, mask)
    torch.testing.assert_close(pixel, arrays["loss_reconstruction"].mean(), **TOLERANCE)
    contrast, _ = method.contrastive_loss(tokens, views, mask)
    torch.testing.assert_close(contrast, arrays["loss_contrast"], **TOLERANCE)
    total = method.config.reconstruction * pixel + method.contrast_weight(0.0) * contrast
    torch.testing.assert_close(total, arrays["loss"], **TOLERANCE)
    buffers = dict(method.compared.projector.named_buffers())
    for layer in (1, 4):  # moved by both views, one after the other
        for name in ("running_mean", "running_var"):
            torch.testing.assert_close(buffers[f"{layer}.{name}"], arrays[f"{name}_{layer}_after"], **TOLERANCE)
    projected = torch.stack([method.compared.projector(view) for view in arrays["pooled"]])
    torch.testing.assert_close(projected, arrays["projected"], **TOLERANCE)
    for temperature, name in ((0.1, "loss_contrast"), (1.0, "loss_contrast_tau_1")):
        torch.testing.assert_close(nt_xent(*projected, temperature=temperature), arrays[name], **TOLERANCE)
