"""Layouts of self-distillation and related methods (DINO to DINOv3, iBOT, INO, MoCo v3, BEiT, V-JEPA 2), and timm's."""

from kinema.weights.formats.infer import KnownFacts
from kinema.weights.formats.layout import Layout
from kinema.weights.formats.names import Pairs, add_prefix
from kinema.weights.formats.research import BLOCK, CLASSIFIER, EMBEDDING, NORM, PLAIN
from kinema.weights.network import HALVES, Pixels

_SCALES: Pairs = (("blocks.{i}.ls1.gamma", "blocks.{i}.ls1.gamma"), ("blocks.{i}.ls2.gamma", "blocks.{i}.ls2.gamma"))
_HEAD = (
    r"(mlp\.\d+\.(weight|bias|running_mean|running_var|num_batches_tracked)"
    r"|last_layer2?\.(weight_g|weight_v|weight|parametrizations\.weight\.original[01]))"
)
"""Names of a projection head, with both ways in which PyTorch names a weight norm."""
_DINO = KnownFacts(
    pooling="class token; the last layers' for linear probes",
    resampling="interpolated_offset",
    pixels=Pixels(),
    pixels_from="the format: ImageNet's",
)
_TRAINED = {rf"head\.{_HEAD}": "the projection head"}
_IBOT_SCALES: Pairs = (("blocks.{i}.ls1.gamma", "blocks.{i}.gamma_1"), ("blocks.{i}.ls2.gamma", "blocks.{i}.gamma_2"))
_V2: Pairs = (
    *PLAIN,
    *_SCALES,
    ("register_tokens", "register_tokens"),
    ("mask_token", "mask_token"),
    ("blocks.{i}.mlp.fc1.*", "blocks.{i}.mlp.w12.*"),
    ("blocks.{i}.mlp.fc2.*", "blocks.{i}.mlp.w3.*"),
)
_V3: Pairs = (
    ("cls_token", "cls_token"),
    ("register_tokens", "storage_tokens"),
    ("mask_token", "mask_token"),
    *EMBEDDING,
    *BLOCK,
    *_SCALES,
    ("blocks.{i}.mlp.gate.*", "blocks.{i}.mlp.w1.*"),
    ("blocks.{i}.mlp.up.*", "blocks.{i}.mlp.w2.*"),
    ("blocks.{i}.mlp.fc2.*", "blocks.{i}.mlp.w3.*"),
    *NORM,
)
_BEIT: Pairs = (
    ("cls_token", "cls_token"),
    ("pos_embed", "pos_embed"),
    ("mask_token", "mask_token"),
    *EMBEDDING,
    *BLOCK,
    *_IBOT_SCALES,
    *((f"blocks.{{i}}.attn.qkv.{part}_bias", f"blocks.{{i}}.attn.{part}_bias") for part in "qv"),
    (
        "blocks.{i}.attn.relative.relative_position_bias_table",
        "blocks.{i}.attn.relative_position_bias_table",
    ),
    ("rel_pos_bias.relative_position_bias_table", "rel_pos_bias.relative_position_bias_table"),
    *NORM,
)
_V2_KNOWN = KnownFacts(
    pooling="class token, or with the mean of the patches",
    resampling="interpolated_offset",
    pixels=Pixels(),
    pixels_from="the format: ImageNet's",
)
TIMM: Pairs = (
    *PLAIN,
    *_SCALES,
    ("register_tokens", "reg_token"),
    ("blocks.{i}.attn.qkv.q_bias", "blocks.{i}.attn.q_bias"),
    ("blocks.{i}.attn.qkv.v_bias", "blocks.{i}.attn.v_bias"),
)
"""Names of timm's ViT. Its fused SwiGLU has the same names as ours."""


DISTILLED = (
    Layout(
        title="DINO (training file)",
        encoder=add_prefix("backbone.", PLAIN),
        aside=_TRAINED,
        needs=(r"backbone\.pos_embed", r"head\.last_layer\.(weight_v|parametrizations\.weight\.original1)"),
        known=_DINO,
    ),
    Layout(
        title="iBOT (training file)",
        encoder=add_prefix("backbone.", (*PLAIN, *_IBOT_SCALES, ("mask_token", "masked_embed"))),
        aside=_TRAINED,
        needs=(r"backbone\.masked_embed|head\.last_layer2\..*",),
        known=_DINO,
    ),
    Layout(
        title="INO (training file)",
        encoder=add_prefix("backbone.", (*PLAIN, ("mask_token", "mask_token"))),
        aside={rf"headlist\.headlist\.\d+\.{_HEAD}": "a projection head"},
        needs=(r"backbone\.mask_token", r"headlist\.headlist\.0\..*"),
        known=_DINO,
    ),
    Layout(
        title="DINO's, iBOT's or INO's backbone under its prefix",
        encoder=add_prefix("backbone.", (*PLAIN, *_IBOT_SCALES, ("mask_token", "masked_embed"))),
        known=_DINO,
    ),
    Layout(
        title="DINOv2 (hub)",
        encoder=_V2,
        aside=CLASSIFIER,
        needs=(r"blocks\.0\.ls1\.gamma", r"mask_token"),
        known=_V2_KNOWN,
    ),
    Layout(
        title="DINOv2 (training file; also T-CoRe)",
        encoder=add_prefix("backbone.", _V2),
        aside={
            r"(dino|ibot)_head\.(" + _HEAD + ")": "a projection head",
            r"head\.(" + _HEAD + ")": "a projection head",
        },
        needs=(r"backbone\.blocks\.0\.ls1\.gamma", r"backbone\.mask_token"),
        known=_V2_KNOWN,
    ),
    Layout(
        title="DINOv3 (hub)",
        encoder=_V3,
        aside={
            r"rope_embed\.periods": "the periods of the rotary positions, which are computed",
            r"blocks\.\d+\.attn\.qkv\.bias_mask": "the mask that zeroes the bias of keys (applied)",
        },
        needs=(r"rope_embed\.periods", r"storage_tokens"),
        known=KnownFacts(
            norm_eps=1e-5,
            positions="rotary",
            rotary_base=100.0,
            pooling="class token",
            pixels=Pixels(),
            pixels_from="the format: ImageNet's",
        ),
    ),
    Layout(
        title="MoCo v3 (training file)",
        encoder=PLAIN,
        aside={
            r"(head|predictor)\.\d+\.(weight|bias|running_mean|running_var|num_batches_tracked)": "the projection head"
        },
        needs=(r"head\.0\.weight",),
        heads={384: 12},
        known=KnownFacts(pooling="class token", pixels=Pixels(), pixels_from="the format: ImageNet's"),
    ),
    Layout(
        title="BEiT (official)",
        encoder=_BEIT,
        aside={
            **CLASSIFIER,
            r"lm_head\.(weight|bias)": "the prediction of visual tokens",
            r"(blocks\.\d+\.attn|rel_pos_bias)\.relative_position_index": "indices, which are computed",
        },
        needs=(r"(blocks\.0\.attn|rel_pos_bias)\.relative_position_bias_table",),
        known=KnownFacts(pooling="mean of the patches", pixels=HALVES, pixels_from="the format: 0.5 and 0.5"),
    ),
    Layout(
        title="V-JEPA 2 (official)",
        encoder=add_prefix("backbone.", (*EMBEDDING, *BLOCK, *NORM)),
        needs=(r"backbone\.patch_embed\.proj\.weight",),
        known=KnownFacts(
            num_frames=64,
            image_size=256,
            positions="rotary_3d",
            rotary_base=10000.0,
            pooling="an attentive probe",
            pixels=Pixels(),
            pixels_from="the format: ImageNet's",
        ),
    ),
    Layout(
        title="timm ViT",
        encoder=TIMM,
        aside=CLASSIFIER,
        needs=(r"blocks\.0\.ls1\.gamma|reg_token",),
        known=KnownFacts(pooling="class token", pixels=Pixels(), pixels_from="assumed: ImageNet's"),
    ),
)
