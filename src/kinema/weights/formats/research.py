"""Layouts of the training files of research code: masked autoencoders and their descendants."""

from kinema.weights.formats.infer import KnownFacts
from kinema.weights.formats.layout import Layout
from kinema.weights.formats.names import Pairs, add_prefix
from kinema.weights.network import Pixels

BLOCK: Pairs = (
    ("blocks.{i}.norm1.*", "blocks.{i}.norm1.*"),
    ("blocks.{i}.attn.qkv.*", "blocks.{i}.attn.qkv.*"),
    ("blocks.{i}.attn.proj.*", "blocks.{i}.attn.proj.*"),
    ("blocks.{i}.norm2.*", "blocks.{i}.norm2.*"),
    ("blocks.{i}.mlp.fc1.*", "blocks.{i}.mlp.fc1.*"),
    ("blocks.{i}.mlp.fc2.*", "blocks.{i}.mlp.fc2.*"),
)
EMBEDDING: Pairs = (("patch_embed.proj.*", "patch_embed.proj.*"),)
NORM: Pairs = (("norm.*", "norm.*"),)
PLAIN: Pairs = (("cls_token", "cls_token"), ("pos_embed", "pos_embed"), *EMBEDDING, *BLOCK, *NORM)
"""Names of a plain ViT, which MAE, DINO, iBOT, DeiT, timm and this package share."""
_QV_BIASES: Pairs = tuple((f"blocks.{{i}}.attn.qkv.{part}_bias", f"blocks.{{i}}.attn.{part}_bias") for part in "qv")


CLASSIFIER = {
    r"head\.(weight|bias)": "a classifier",
    r"head_dist\.(weight|bias)": "a classifier",
    r"fc_norm\.(weight|bias)": "the norm of the mean token, before a classifier",
}
_MAE_DECODER: Pairs = (
    ("embed.*", "decoder_embed.*"),
    ("mask_token", "mask_token"),
    ("pos_embed", "decoder_pos_embed"),
    *((ours, f"decoder_{theirs}") for ours, theirs in BLOCK),
    ("norm.*", "decoder_norm.*"),
    ("pred.*", "decoder_pred.*"),
)
_PROJECTOR = r"projector\.\d+\.(weight|bias|running_mean|running_var|num_batches_tracked)"
_CROP_BLOCK: Pairs = (
    ("blocks.{i}.attn.qkv.*", "decoder_blocks.{i}.self_attn.in_proj_*"),
    ("blocks.{i}.attn.proj.*", "decoder_blocks.{i}.self_attn.out_proj.*"),
    ("blocks.{i}.cross.stacked.*", "decoder_blocks.{i}.multihead_attn.in_proj_*"),
    ("blocks.{i}.cross.proj.*", "decoder_blocks.{i}.multihead_attn.out_proj.*"),
    ("blocks.{i}.mlp.fc1.*", "decoder_blocks.{i}.linear1.*"),
    ("blocks.{i}.mlp.fc2.*", "decoder_blocks.{i}.linear2.*"),
    ("blocks.{i}.norm_self.*", "decoder_blocks.{i}.norm1.*"),
    ("blocks.{i}.norm_cross.*", "decoder_blocks.{i}.norm2.*"),
    ("blocks.{i}.norm_mlp.*", "decoder_blocks.{i}.norm3.*"),
)
_CROP_DECODER: Pairs = (
    ("embed.*", "decoder_embed.*"),
    ("mask_token", "mask_token"),
    ("pos_embed", "decoder_pos_embed"),
    *_CROP_BLOCK,
    ("norm.*", "decoder_norm.*"),
    ("pred.*", "decoder_pred.*"),
)
_RSP_BLOCK = (
    r"decoder_blocks\.\d+\.(norm1|norm_kv1|norm3|norm4|cattn\.(q|kv|proj)|attn\.(qkv|proj)|mlp2?\.fc[12])"
    r"\.(weight|bias)"
)
_OTHER_INPUTS = "a decoder with inputs that ours does not have"
_OWN_CLASS_TOKEN = "a decoder with a class token of its own, which ours does not have"
_IMAGES = KnownFacts(
    pooling="class token or mean of the patches", pixels_from="the format: ImageNet's", pixels=Pixels()
)
_CLIPS = KnownFacts(
    num_frames=16,
    positions="sincos_1d",
    pooling="mean of the patches",
    pixels=Pixels(),
    pixels_from="the format: ImageNet's",
)
_TUBELETS: Pairs = (*EMBEDDING, *BLOCK, *_QV_BIASES)
_COSINE = {r"(encoder\.|decoder\.)?blocks\.\d+\.attn\.scale": "cosine attention (V2's option) is another network"}
_MAE_ST: Pairs = (
    ("cls_token", "cls_token"),
    ("pos_embed.spatial", "pos_embed_spatial"),
    ("pos_embed.temporal", "pos_embed_temporal"),
    ("pos_embed.class_token", "pos_embed_class"),
    *EMBEDDING,
    *(pair for pair in BLOCK if "qkv" not in pair[0]),
    *((f"blocks.{{i}}.attn.{part}.*", f"blocks.{{i}}.attn.{part}.*") for part in "qkv"),
    *NORM,
)

RESEARCH = (
    Layout(
        title="plain ViT (MAE's or ViC-MAE's encoder, DINO's or iBOT's backbone, DeiT)",
        encoder=PLAIN,
        aside=CLASSIFIER,
        known=_IMAGES,
    ),
    Layout(
        title="MAE with its decoder",
        encoder=PLAIN,
        decoder=_MAE_DECODER,
        needs=(r"decoder_pred\.weight",),
        known=_IMAGES,
    ),
    Layout(
        title="ViC-MAE",
        encoder=PLAIN,
        decoder=_MAE_DECODER,
        aside={_PROJECTOR: "the projector of the contrastive loss"},
        needs=(r"projector\.6\.weight", r"decoder_pred\.weight"),
        known=_IMAGES,
    ),
    Layout(
        title="CropMAE or CatMAE (SiamMAE's family)",
        encoder=PLAIN,
        decoder=_CROP_DECODER,
        decoder_kind="cross",
        needs=(r"decoder_blocks\.0\.multihead_attn\.in_proj_weight",),
        known=_IMAGES,
    ),
    Layout(
        title="RSP or ToBo (SiamMAE's family)",
        encoder=PLAIN,
        aside={
            rf"{_RSP_BLOCK}|decoder_(norm|pred)\.(weight|bias)|mask_token|decoder_pos_embed": _OTHER_INPUTS,
            r"decoder_embed(_\w+)?\.(weight|bias)": _OTHER_INPUTS,
            r"to_(posterior|prior)\.\d+\.(weight|bias)": "the stochastic latents of RSP",
        },
        needs=(r"decoder_blocks\.0\.cattn\.kv\.weight",),
        known=_IMAGES,
    ),
    Layout(
        title="VideoMAE with its decoder (official, V1 or V2)",
        encoder=add_prefix("encoder.", (*_TUBELETS, *NORM)),
        decoder=(
            ("embed.*", "encoder_to_decoder.*"),
            ("mask_token", "mask_token"),
            *add_prefix("decoder.", _TUBELETS),
            ("norm.*", "decoder.norm.*"),
            ("pred.*", "decoder.head.*"),
        ),
        refused=_COSINE,
        needs=(r"decoder\.head\.weight",),
        known=_CLIPS,
    ),
    Layout(
        title="VideoMAE's encoder, pre-trained or fine-tuned (official, V1 or V2)",
        encoder=(*_TUBELETS, *NORM),
        aside=CLASSIFIER,
        refused=_COSINE,
        needs=(r"blocks\.0\.attn\.q_bias", r"patch_embed\.proj\.weight"),
        known=_CLIPS,
    ),
    Layout(
        title="MAE-ST",
        encoder=_MAE_ST,
        aside={
            r"decoder_(embed|norm|pred)\.(weight|bias)": _OWN_CLASS_TOKEN,
            r"decoder_(cls_token|pos_embed_(spatial|temporal|class))|mask_token": _OWN_CLASS_TOKEN,
            r"decoder_blocks\.\d+\.(norm[12]|attn\.(q|k|v|proj)|mlp\.fc[12])\.(weight|bias)": _OWN_CLASS_TOKEN,
            **CLASSIFIER,
            r"head\.projection\.(weight|bias)": "a classifier",
        },
        known=KnownFacts(
            pixels=Pixels(mean=(0.45, 0.45, 0.45), std=(0.225, 0.225, 0.225)),
            pooling="mean of the patches, or class token",
            pixels_from="the format",
        ),
    ),
)
