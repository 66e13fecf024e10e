"""Tensor names of the vision transformers in Hugging Face's transformers, versions 4 and 5."""

from dataclasses import replace
from typing import Literal

from kinema.weights.formats.infer import KnownFacts
from kinema.weights.formats.layout import Layout
from kinema.weights.formats.names import Pairs, add_prefix

Version = Literal["v4", "v5"]
_EMBEDDINGS: Pairs = (
    ("cls_token", "embeddings.cls_token"),
    ("pos_embed", "embeddings.position_embeddings"),
    ("patch_embed.proj.*", "embeddings.patch_embeddings.projection.*"),
)
_NORM: Pairs = (("norm.*", "layernorm.*"),)
_OLD_ATTENTION: Pairs = (
    ("attn.q.*", "attention.attention.query.*"),
    ("attn.k.*", "attention.attention.key.*"),
    ("attn.v.*", "attention.attention.value.*"),
    ("attn.proj.*", "attention.output.dense.*"),
)
_NEW_ATTENTION: Pairs = (
    ("attn.q.*", "attention.q_proj.*"),
    ("attn.k.*", "attention.k_proj.*"),
    ("attn.v.*", "attention.v_proj.*"),
    ("attn.proj.*", "attention.o_proj.*"),
)
_OLD_MLP: Pairs = (("mlp.fc1.*", "intermediate.dense.*"), ("mlp.fc2.*", "output.dense.*"))
_MLP: Pairs = (("mlp.fc1.*", "mlp.fc1.*"), ("mlp.fc2.*", "mlp.fc2.*"))
_BEFORE_AFTER: Pairs = (("norm1.*", "layernorm_before.*"), ("norm2.*", "layernorm_after.*"))
_ONE_TWO: Pairs = (("norm1.*", "norm1.*"), ("norm2.*", "norm2.*"))
_SCALES: Pairs = (("ls1.gamma", "layer_scale1.lambda1"), ("ls2.gamma", "layer_scale2.lambda1"))
_LOOSE_BIASES: Pairs = (
    ("attn.q.bias", "attention.attention.q_bias"),
    ("attn.v.bias", "attention.attention.v_bias"),
)
_BLOCKS: dict[str, Pairs] = {
    "v4": (*_BEFORE_AFTER, *_OLD_ATTENTION, *_OLD_MLP),
    "v5": (*_BEFORE_AFTER, *_NEW_ATTENTION, *_MLP),
}
_GATED: Pairs = (("mlp.gate.*", "mlp.gate_proj.*"), ("mlp.up.*", "mlp.up_proj.*"), ("mlp.fc2.*", "mlp.down_proj.*"))


def _in_block(where: str, pairs: Pairs) -> Pairs:
    return tuple((f"blocks.{{i}}.{ours}", f"{where}.{{i}}.{theirs}") for ours, theirs in pairs)


_HEADS = {
    r"(classifier|fc_norm|pooler\.dense|pooler\.layernorm)\.(weight|bias)": "a pooler or a classifier",
    r"(vit|beit)\.pooler\.(dense|layernorm)\.(weight|bias)": "a pooler or a classifier",
}
_CLASS = "class token, normed"


def _build_vit() -> list[Layout]:
    layouts = []
    for version, where in (("v4", "encoder.layer"), ("v5", "layers")):
        encoder = (*_EMBEDDINGS, *_in_block(where, _BLOCKS[version]), *_NORM)
        plain = Layout(
            title=f"Hugging Face ViT ({version})",
            encoder=encoder,
            aside={**_HEADS, r"(vit\.)?embeddings\.mask_token|decoder\.0\.(weight|bias)": "masked image modeling"},
            known=KnownFacts(pooling=_CLASS),
        )
        layouts += [plain, replace(plain, prefix="vit.")]
    return layouts


def _build_mae_decoder(where: str, block: Pairs) -> Pairs:
    named = (
        ("mask_token", "mask_token"),
        ("pos_embed", "decoder_pos_embed"),
        ("embed.*", "decoder_embed.*"),
        ("norm.*", "decoder_norm.*"),
        ("pred.*", "decoder_pred.*"),
    )
    return add_prefix("decoder.", (*named, *_in_block(where, block)))


def _build_vit_mae() -> list[Layout]:
    layouts = []
    for version, where in (("v4", "encoder.layer"), ("v5", "layers")):
        encoder = (*_EMBEDDINGS, *_in_block(where, _BLOCKS[version]), *_NORM)
        title = f"Hugging Face ViTMAE ({version})"
        alone = Layout(title=title, encoder=encoder, known=KnownFacts(pooling="class token, or mean of the patches"))
        for layers in ("decoder_layers", "decoder_encoder.layer"):  # 5.23 saves the latter with version 4's names
            decoder = _build_mae_decoder(layers, _BLOCKS[version])
            layouts.append(replace(alone, prefix="vit.", decoder=decoder, needs=(r"decoder\.decoder_pred\.weight",)))
        layouts += [alone, replace(alone, prefix="vit.")]
    return layouts


def _build_videomae() -> list[Layout]:
    layouts = []
    for version in ("v4", "v5"):
        loose = _LOOSE_BIASES if version == "v4" else ()
        weights = tuple(pair for pair in _BLOCKS["v4"] if not (loose and pair[0] in ("attn.q.*", "attn.v.*")))
        only = (
            ("attn.q.weight", "attention.attention.query.weight"),
            ("attn.v.weight", "attention.attention.value.weight"),
        )
        block = (*loose, *only, *weights) if loose else weights
        encoder = (
            ("patch_embed.proj.*", "embeddings.patch_embeddings.projection.*"),
            *_in_block("encoder.layer", block),
            *_NORM,
        )
        decoder = (
            ("embed.*", "encoder_to_decoder.*"),
            ("mask_token", "mask_token"),
            *_in_block("decoder.decoder_layers", block),
            ("norm.*", "decoder.norm.*"),
            ("pred.*", "decoder.head.*"),
        )
        known = KnownFacts(
            positions="sincos_1d",
            pooling="mean of the patches",
            decoder_last_norm_eps=1e-5,  # transformers ignores the configuration here and uses PyTorch's default
        )
        alone = Layout(title=f"Hugging Face VideoMAE ({version})", encoder=encoder, known=known)
        layouts += [
            replace(alone, prefix="videomae.", decoder=decoder, needs=(r"decoder\.head\.weight",)),
            alone,
            replace(alone, prefix="videomae.", aside=_HEADS, needs=(r"classifier\.weight",)),
        ]
    return layouts


def _build_dinov2(model_type: str) -> list[Layout]:
    layouts = []
    for version, attention in (("v4", _OLD_ATTENTION), ("v5", _NEW_ATTENTION)):
        gates = _GATED if version == "v5" else (("mlp.fc1.*", "mlp.weights_in.*"), ("mlp.fc2.*", "mlp.weights_out.*"))
        for mlp in (_MLP, gates):
            encoder = (
                *_EMBEDDINGS,
                ("mask_token", "embeddings.mask_token"),
                *((("register_tokens", "embeddings.register_tokens"),) if model_type.endswith("registers") else ()),
                *_in_block("encoder.layer", (*_ONE_TWO, *attention, *_SCALES, *mlp)),
                *_NORM,
            )
            registers = model_type.endswith("registers")
            plain = Layout(
                title=f"Hugging Face DINOv2{' with registers' if registers else ''} ({version})",
                encoder=encoder,
                aside=_HEADS,
                known=KnownFacts(
                    pooling=_CLASS, resampling="interpolated_antialiased" if registers else "interpolated"
                ),
            )
            layouts += [plain, replace(plain, prefix=f"{model_type}.")]
    return layouts


def _build_dinov3() -> list[Layout]:
    embeddings = (
        ("cls_token", "embeddings.cls_token"),
        ("mask_token", "embeddings.mask_token"),
        ("register_tokens", "embeddings.register_tokens"),
        ("patch_embed.proj.*", "embeddings.patch_embeddings.*"),
    )
    layouts = []
    for where in ("layer", "model.layer"):
        block = _in_block(where, (*_ONE_TWO, *_NEW_ATTENTION, *_SCALES, *_GATED))
        encoder = (*embeddings, *block, ("norm.*", "norm.*"))
        known = KnownFacts(positions="rotary", pooling=_CLASS)
        layouts.append(Layout(title="Hugging Face DINOv3 ViT", encoder=encoder, known=known))
    return layouts


def _build_vjepa2() -> list[Layout]:
    attention = (
        ("attn.q.*", "attention.query.*"),
        ("attn.k.*", "attention.key.*"),
        ("attn.v.*", "attention.value.*"),
        ("attn.proj.*", "attention.proj.*"),
    )
    encoder = (
        ("patch_embed.proj.*", "encoder.embeddings.patch_embeddings.proj.*"),
        *_in_block("encoder.layer", (*_ONE_TWO, *attention, *_MLP)),
        ("norm.*", "encoder.layernorm.*"),
    )
    known = KnownFacts(positions="rotary_3d", rotary_base=10000.0, pooling="an attentive probe")
    aside = {r"(vjepa2\.)?predictor\..*": "the predictor of hidden tokens", r"(pooler|classifier)\..*": "a classifier"}
    plain = Layout(title="Hugging Face V-JEPA 2", encoder=encoder, aside=aside, known=known)
    return [plain, replace(plain, prefix="vjepa2.")]


def _build_beit() -> list[Layout]:
    layouts = []
    table = "relative_position_bias.relative_position_bias_table"
    for version, where, own, shared in (
        ("v4", "encoder.layer", f"attention.attention.{table}", f"encoder.{table}"),
        ("v5", "layers", table, "shared_position_bias.relative_position_bias_table"),
    ):
        scales = (("ls1.gamma", "lambda_1"), ("ls2.gamma", "lambda_2"))
        relative = (("attn.relative.relative_position_bias_table", own),)
        encoder = (
            *_EMBEDDINGS,
            ("mask_token", "embeddings.mask_token"),
            ("rel_pos_bias.relative_position_bias_table", shared),
            *_in_block(where, (*_BLOCKS[version], *scales, *relative)),
        )
        aside = {
            **_HEADS,
            r"lm_head\.(weight|bias)": "the prediction of visual tokens",
            r".*\.relative_position_index": "indices, which are computed",
        }
        title = f"Hugging Face BEiT ({version})"
        known = KnownFacts(pooling="mean of the patches")
        layouts += [
            Layout(
                title=title, encoder=(*add_prefix(prefix, encoder), *add_prefix(norm, _NORM)), aside=aside, known=known
            )
            for prefix, norm in (("", ""), ("beit.", "beit."), ("beit.", ""))
        ]
    return layouts


LAYOUTS: dict[str, list[Layout]] = {
    "vit": _build_vit(),
    "vit_mae": _build_vit_mae(),
    "videomae": _build_videomae(),
    "dinov2": _build_dinov2("dinov2"),
    "dinov2_with_registers": _build_dinov2("dinov2_with_registers"),
    "dinov3_vit": _build_dinov3(),
    "vjepa2": _build_vjepa2(),
    "beit": _build_beit(),
}
"""Layouts by the `model_type` of a configuration."""


def select_layout(model_type: str, version: Version, *, decoder: bool, gated: bool) -> Layout:
    """Selects the layout to write: that of the whole model if there is a decoder, otherwise of the bare encoder."""
    candidates = [layout for layout in LAYOUTS[model_type] if bool(layout.decoder) == decoder]
    candidates = [layout for layout in candidates if version in layout.title] or candidates
    with_gate = [
        layout for layout in candidates if any("gate" in name or "weights_in" in name for _, name in layout.encoder)
    ]
    if gated and with_gate:
        return with_gate[0]
    return next((layout for layout in candidates if layout not in with_gate), candidates[0])
