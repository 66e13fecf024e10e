"""What every method is to the training engine: a module that turns a batch of clips into a loss.

The method owns its mask, its target and its loss; the engine owns the optimizer, the ranks and the files.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor, nn

from kinema.models.vit_config import CrossDecoderConfig, MaskedDecoderConfig
from kinema.types import ClipBatch, ClipSpec


@dataclass(frozen=True, kw_only=True)
class MethodOutput:
    """The scalar to minimize, and the named scalars it is made of (for the log)."""

    loss: Float[Tensor, ""]
    terms: dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """What a masked method predicted, in pixels in [0, 1], for pictures only."""

    context: Float[Tensor, "B T 3 H W"]
    """Frames the method saw whole; T may be 0."""
    truth: Float[Tensor, "B F 3 H W"]
    """The frames it had to predict."""
    hidden: Bool[Tensor, "B F H W"]
    """True where a pixel was hidden from the encoder."""
    predicted: Float[Tensor, "B F 3 H W"]
    """Hidden patches as predicted from what the network saw; the method says where mean and contrast come from."""
    predicted_with_truth: Float[Tensor, "B F 3 H W"]
    """Hidden patches as predicted, given the true mean and contrast of each patch (how papers show it)."""


@dataclass(kw_only=True)
class ParameterGroup:
    """Parameters that share a learning rate and a weight decay."""

    name: str
    parameters: list[nn.Parameter]
    lr_scale: float = 1.0
    """Multiplies the scheduled learning rate."""
    weight_decay_scale: float = 1.0
    """Multiplies the configured weight decay; 0 for biases, norms and other vectors."""


@dataclass(frozen=True, kw_only=True)
class EncoderExport:
    """The part that is kept after training: tensors under our names, and what rebuilds the network around them."""

    tensors: dict[str, Tensor]
    config: dict[str, Any] = field(default_factory=dict)
    decoder: tuple[dict[str, Tensor], CrossDecoderConfig | MaskedDecoderConfig] | None = None
    """Tensors and kind of a decoder: one that attends from frame to frame, which can serve as an affinity, or a masked
    autoencoder's that predicts whole patches."""
    others: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    """Further networks of the same configuration by name, e.g. the student beside the teacher; each is left in a folder
    of its name."""


class Method(nn.Module, ABC):
    """Base of the methods. `progress` is the share of the training done, in [0, 1]."""

    clip: ClipSpec
    """The clip this method is built for."""

    @abstractmethod
    def init_weights(self) -> None:
        """Fills every parameter and buffer, whatever they held before."""

    def check_batch(self, samples: int) -> None:
        """Raises ConfigError where the loss cannot be had of so few samples at a time, those of all ranks together."""

    @abstractmethod
    def forward(self, batch: ClipBatch, progress: float) -> MethodOutput:
        """The loss of one batch; every rank's batch has the same size, and losses are means over clips."""

    def reconstruct(self, batch: ClipBatch) -> Reconstruction | None:
        """What the method predicts, in pixels, for pictures; None for methods that predict none."""
        return None

    def hidden_pixels(self, batch: ClipBatch) -> Bool[Tensor, "B T H W"] | None:
        """True where a pixel is hidden from a method that predicts none, for pictures; None where nothing is hidden,
        and for methods of which `reconstruct` says it."""
        return None

    def after_step(self, progress: float) -> None:
        """Called after each optimizer step, e.g. to move a teacher."""

    def alarms(self, measured: dict[str, float]) -> list[str]:
        """What a person should know of the numbers just logged, in plain words and always the same ones: how the
        training fails. Said once it has been true for a while (`train.log`). `measured` has the terms as logged."""
        return []

    def parameter_groups(self, progress: float) -> list[ParameterGroup]:
        """Groups of the trainable parameters; scales may change with progress, membership may not.

        By default biases and norms do not decay and everything else does, tokens included, as in MAE's code.
        """
        trainable = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return [
            ParameterGroup(name="decay", parameters=[p for p in trainable if p.ndim > 1]),
            ParameterGroup(name="no_decay", parameters=[p for p in trainable if p.ndim <= 1], weight_decay_scale=0.0),
        ]

    def shard_units(self) -> list[nn.Module]:
        """The blocks that activation checkpointing and sharding wrap one by one."""
        return []

    @abstractmethod
    def load_encoder(self, tensors: dict[str, Tensor]) -> None:
        """Starts from the tensors of an exported encoder; RuntimeError where names or shapes differ."""

    def load_decoder(self, tensors: dict[str, Tensor]) -> bool:
        """Starts the decoder from tensors that a file has for one; whether names and shapes were the same, else it is
        left as it was."""
        decoder = getattr(self, "decoder", None)
        if not isinstance(decoder, nn.Module):
            return False
        shapes = {name: tensor.shape for name, tensor in decoder.state_dict().items()}
        if shapes != {name: tensor.shape for name, tensor in tensors.items()}:
            return False
        decoder.load_state_dict(tensors)
        return True

    @abstractmethod
    def encoder_export(self) -> EncoderExport:
        """The encoder as it is written to `encoder.safetensors` and `config.json`."""
