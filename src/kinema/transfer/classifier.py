"""A classifier on an encoder's mean token, and how it is saved and loaded."""

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from kinema.errors import ConfigError, WeightsError
from kinema.features import WeightsSource
from kinema.files import sha256_of, sync_to_disk
from kinema.models.inflation import inflated_config
from kinema.models.layers import layer_norm
from kinema.models.positions import Positions
from kinema.models.vit import ViT
from kinema.models.vit_config import ViTConfig
from kinema.transfer.probe_config import ClipReading
from kinema.video.sampling import Clips, Segments
from kinema.weights.files import CONFIG, load_encoder, save_encoder

CLASSIFIER = "classifier.safetensors"


class Classifier(nn.Module):
    """LayerNorm and a linear layer on the mean of all patch tokens, as in VideoMAE and MAE.

    The class token and the encoder's own norm are not used. An encoder of single frames sees each frame on its own, and
    the mean is also over frames.
    """

    def __init__(self, encoder: ViT, num_classes: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.encoder = encoder
        self.fc_norm = layer_norm(encoder.config.width, encoder.config.norm_eps)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(encoder.config.width, num_classes)

    @torch.no_grad()
    def init_weights(self, *, head_scale: float) -> None:
        """Fills every parameter and buffer; the head gets small values, so that all classes start equally likely."""
        self.encoder.init_weights()
        self.fc_norm.reset_parameters()
        nn.init.trunc_normal_(self.head.weight, std=0.02, a=-0.04, b=0.04)
        self.head.weight.mul_(head_scale)
        nn.init.zeros_(self.head.bias)

    def forward(self, clips: Float[Tensor, "B T 3 H W"]) -> Float[Tensor, "B K"]:
        """Returns the logits of standardized clips of the size and length that the encoder is built for."""
        encoder = self.encoder
        inputs = clips.flatten(0, 1) if encoder.config.num_frames == 1 else clips
        tokens = encoder.through_blocks(encoder.embed(inputs), encoder.config.depth)
        means = tokens[:, encoder.num_class_tokens :].mean(dim=1)
        pooled = means.unflatten(0, (len(clips), -1)).mean(dim=1)  # (B, D)
        return self.head(self.dropout(self.fc_norm(pooled))).float()


def adapt_config(config: ViTConfig, *, num_frames: int, image_size: int, tubelet_size: int = 1) -> ViTConfig:
    """Returns the encoder's configuration for clips of another length and size.

    An encoder of single frames stays one unless `tubelet_size` is above 1. Raises ConfigError if tubelets or patches do
    not divide the clip.
    """
    if tubelet_size > 1 and config.tubelet_size != tubelet_size:
        return inflated_config(config, num_frames=num_frames, tubelet_size=tubelet_size, image_size=image_size)
    return replace(config, num_frames=1 if config.num_frames == 1 else num_frames, image_size=image_size)


@dataclass(frozen=True, kw_only=True)
class ClassifierFacts:
    """What describes a classifier in addition to its tensors."""

    class_names: tuple[str, ...]
    reading: ClipReading
    """How test clips are read by default, which is how the classifier was trained."""
    positions: Positions = "interpolated"
    """How positions are computed for clips of another length or size."""


@dataclass(frozen=True, kw_only=True)
class SavedClassifier:
    """A classifier loaded from disk, in evaluation mode."""

    classifier: Classifier
    facts: ClassifierFacts
    source: WeightsSource

    def adapt_to(self, reading: ClipReading) -> Classifier:
        """Returns the classifier for clips of another length or size, or the loaded one if nothing differs."""
        encoder = self.classifier.encoder
        config = adapt_config(encoder.config, num_frames=reading.sampling.num_frames, image_size=reading.size)
        if config == encoder.config:
            return self.classifier
        adapted = Classifier(ViT(config), len(self.facts.class_names))
        resampled = encoder.tensors_at(config.num_frames, config.image_size, self.facts.positions)
        adapted.load_state_dict(self.classifier.state_dict() | _add_encoder_prefix(resampled))
        return adapted.to(next(encoder.parameters()).device).eval()


def _add_encoder_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"encoder.{name}": tensor for name, tensor in tensors.items()}


def save_classifier(folder: Path, classifier: Classifier, facts: ClassifierFacts, *, step: int) -> None:
    """Writes `classifier.safetensors`, then the encoder's two files; `config.json` holds the facts and both SHA-256.

    If the process is killed in between, the files do not match each other, and `load_classifier` refuses them.
    """
    tensors = {name: tensor for name, tensor in classifier.state_dict().items() if not name.startswith("encoder.")}
    partial = folder / f".{CLASSIFIER}.partial"
    try:
        partial.write_bytes(save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}))
        sha256 = sha256_of(partial)
        sync_to_disk(partial)
        os.replace(partial, folder / CLASSIFIER)
    finally:
        partial.unlink(missing_ok=True)
    encoder = classifier.encoder
    description = {**asdict(facts), "sha256": sha256}
    network = {"pixels": {"mean": facts.reading.mean, "std": facts.reading.std}}
    config = {"encoder": asdict(encoder.config), "network": network, "classifier": description, "step": step}
    save_encoder(folder, encoder.state_dict(), config)


def read_facts(source: Path) -> ClassifierFacts:
    """Reads the facts of the classifier in a run folder. Raises WeightsError if there is none."""
    return _parse_facts(_read_description(source), source)


def load_classifier(source: Path) -> SavedClassifier:
    """Loads the classifier that fine-tuning wrote to a run folder.

    Raises WeightsError if there is none, if its files cannot be read, or if they do not match each other.
    """
    description = _read_description(source)
    facts = _parse_facts(description, source)
    encoder, sha256 = load_encoder(source)
    file = source / CLASSIFIER
    if not file.is_file() or sha256_of(file) != description.get("sha256"):
        fix = "resume the run, which writes them again, or copy all files again"
        raise WeightsError(f"{CLASSIFIER} is not the one that {CONFIG} was written for", where=str(source), fix=fix)
    classifier = Classifier(encoder, len(facts.class_names))
    try:
        classifier.load_state_dict(_add_encoder_prefix(encoder.state_dict()) | load_file(file))
    except (SafetensorError, RuntimeError) as error:
        raise WeightsError("not a classifier's tensors", where=str(file), fix="copy it again") from error
    return SavedClassifier(
        classifier=classifier.eval(), facts=facts, source=WeightsSource(source=str(source), sha256=sha256)
    )


def _read_description(source: Path) -> dict[str, Any]:
    fix = "give the --out folder of a `kinema finetune` run"
    try:
        description = json.loads((source / CONFIG).read_text(encoding="utf-8-sig")).get("classifier")
    except (OSError, ValueError, AttributeError) as error:
        raise WeightsError(f"no readable {CONFIG} there", where=str(source), fix=fix) from error
    if not isinstance(description, dict):
        raise WeightsError("an encoder without a classifier", where=str(source), fix=fix)
    return description


def _parse_facts(description: dict[str, Any], source: Path) -> ClassifierFacts:
    try:
        reading = dict(description["reading"])
        kind = Clips if "stride" in reading["sampling"] else Segments
        pixels = {name: tuple(reading[name]) for name in ("mean", "std")}
        return ClassifierFacts(
            class_names=tuple(map(str, description["class_names"])),
            reading=ClipReading(**{**reading, **pixels, "sampling": kind(**reading["sampling"])}),
            positions=description["positions"],
        )
    except (KeyError, TypeError, ValueError, ConfigError) as error:
        raise WeightsError(f"{CONFIG} does not describe a classifier", where=str(source), fix="restore it") from error
