"""How transformers names the tensors of VideoMAE and ViTMAE, in its versions 4 and 5."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Our names to theirs; each stands for all that begins with it."""

    encoder: str
    """What their names of the encoder begin with, unless the file holds the encoder alone."""
    encoder_blocks: str = "encoder.layer"
    decoder_blocks: str = "decoder.decoder_layers"
    block: Mapping[str, str]
    others: Mapping[str, str]

    def key(self, name: str) -> str:
        """Their name of our `encoder.…` or `decoder.…`."""
        part, kind, *rest = name.split(".", 3)
        if kind == "blocks":
            blocks = self.encoder + self.encoder_blocks if part == "encoder" else self.decoder_blocks
            return f"{blocks}.{rest[0]}.{_renamed(rest[1], self.block)}"
        return _renamed(name, self.others)


def _renamed(name: str, names: Mapping[str, str]) -> str:
    start = next(start for start in names if name == start or name.startswith(f"{start}."))
    return names[start] + name.removeprefix(start)


_NORMS = {"norm1": "layernorm_before", "norm2": "layernorm_after"}
_BLOCK_V4 = {
    **_NORMS,
    "attn.q": "attention.attention.query",
    "attn.k": "attention.attention.key",
    "attn.v": "attention.attention.value",
    "attn.proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}
_LOOSE_BIASES = {"attn.q.bias": "attention.attention.q_bias", "attn.v.bias": "attention.attention.v_bias"}
_BLOCK_V5 = {
    **_NORMS,
    "attn.q": "attention.q_proj",
    "attn.k": "attention.k_proj",
    "attn.v": "attention.v_proj",
    "attn.proj": "attention.o_proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
_VIDEOMAE = {
    "encoder.patch_embed.proj": "videomae.embeddings.patch_embeddings.projection",
    "encoder.norm": "videomae.layernorm",
    "decoder.embed": "encoder_to_decoder",
    "decoder.mask_token": "mask_token",
    "decoder.norm": "decoder.norm",
    "decoder.pred": "decoder.head",
}
_VIT_MAE = {
    "encoder.patch_embed.proj": "vit.embeddings.patch_embeddings.projection",
    "encoder.cls_token": "vit.embeddings.cls_token",
    "encoder.pos_embed": "vit.embeddings.position_embeddings",
    "encoder.norm": "vit.layernorm",
    "decoder.embed": "decoder.decoder_embed",
    "decoder.mask_token": "decoder.mask_token",
    "decoder.pos_embed": "decoder.decoder_pos_embed",
    "decoder.norm": "decoder.decoder_norm",
    "decoder.pred": "decoder.decoder_pred",
}
LAYOUTS: dict[str, dict[str, Layout]] = {
    "videomae": {
        "v4": Layout(encoder="videomae.", block=_LOOSE_BIASES | _BLOCK_V4, others=_VIDEOMAE),
        "v5": Layout(encoder="videomae.", block=_BLOCK_V4, others=_VIDEOMAE),
    },
    "vit_mae": {
        "v4": Layout(encoder="vit.", block=_BLOCK_V4, others=_VIT_MAE),
        "v5": Layout(encoder="vit.", encoder_blocks="layers", block=_BLOCK_V5, others=_VIT_MAE),
        # what `save_pretrained` of 5.23 makes of version 4's names
        "v4, saved by v5": Layout(
            encoder="vit.", decoder_blocks="decoder.decoder_encoder.layer", block=_BLOCK_V4, others=_VIT_MAE
        ),
    },
}
