"""A masked autoencoder's weights as every format reads and writes them: our names, our configurations."""

from dataclasses import dataclass

from torch import Tensor

from kinema.models.configs import MaskedDecoderConfig, ViTConfig


@dataclass(frozen=True, kw_only=True)
class AutoencoderWeights:
    """An encoder, and the decoder it was trained with where a file holds one."""

    encoder: ViTConfig
    encoder_tensors: dict[str, Tensor]
    """As `ViT.load_state_dict` takes them."""
    decoder: MaskedDecoderConfig | None = None
    decoder_tensors: dict[str, Tensor] | None = None
    """As `MaskedDecoder.load_state_dict` takes them."""
    normalized_target: bool = True
    """Whether it was trained on patches with mean and contrast taken out."""
    mask_ratio: float | None = None
    """Share of the patches that were hidden, where the file says so."""
