"""What a run does besides training: it keeps encoders, draws pictures, and measures on clips held out."""

import logging
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from kinema.benchmark.davis import compute_davis_scores
from kinema.datasets.davis import DavisSequence, read_sequences
from kinema.datasets.loader import Loader
from kinema.datasets.media import MediaDataset
from kinema.errors import DatasetError
from kinema.features import FeatureExtractor, WeightsSource
from kinema.methods.method import Method
from kinema.models.vit import ViT
from kinema.models.vit_config import ViTConfig
from kinema.ops.precision import autocast, resolve_precision, without_tf32
from kinema.protocols.registry import get_protocol
from kinema.tools.report.run_report import write_report
from kinema.tools.visualize.reconstruction_pictures import draw_reconstructions
from kinema.tools.visualize.sheets import compute_tile_size, resize_picture, write_picture
from kinema.train.checkpoint import stop_on_full_disk
from kinema.train.log import RunLog
from kinema.train.loop import Hook
from kinema.train.train_config import TrainConfig
from kinema.types import ClipBatch
from kinema.video.images import read_image
from kinema.video.overlays import overlay
from kinema.video.writer import write_video
from kinema.weights.decoders import save_decoder
from kinema.weights.files import save_encoder

_PICTURED_CLIPS = 6
_HELD_OUT_BATCHES = 4
_FILM_WIDTH = 640
"""Pixels, at most."""
_FILM_FPS = 24
"""Of DAVIS."""

_log = logging.getLogger(__name__)


Save = Callable[[Method, Path, int], None]
"""Writes what is kept of a method into a folder, at a step."""


def save_export(method: Method, folder: Path, step: int) -> None:
    """Writes the encoder, and the decoder where the method has one that others can use."""
    export = method.encoder_export()
    config = {**export.config, "step": step}
    for name, tensors in export.others.items():
        (folder / name).mkdir(exist_ok=True)
        save_encoder(folder / name, tensors, config)
    if export.decoder is not None:
        said = save_decoder(folder, *export.decoder)
        network = {**config.get("network", {}), **said.pop("network", {})}
        config |= said | ({"network": network} if network else {})
    save_encoder(folder, export.tensors, config)


def make_export_hooks(out: Path, config: TrainConfig, save: Save = save_export) -> list[Hook]:
    """Keep what `save` writes as new as the newest checkpoint, and one by step where that is asked for."""

    def newest(method: Method, step: int, log: RunLog) -> None:
        _export(save, method, out, step)

    def kept(method: Method, step: int, log: RunLog) -> None:
        _export(save, method, out / "encoders" / f"step-{step:08d}", step)

    hooks = [Hook(every_steps=None, function=newest)]
    if config.export_every_steps is not None:
        hooks.append(Hook(every_steps=config.export_every_steps, function=kept))
    return hooks


def _export(save: Save, method: Method, folder: Path, step: int) -> None:
    with stop_on_full_disk(step, folder):
        folder.mkdir(parents=True, exist_ok=True)
        save(method, folder, step)


def make_report_hook(out: Path) -> Hook:
    """The run's page, as new as the newest checkpoint."""

    return Hook(every_steps=None, function=lambda _method, step, _log: update_report(out, step))


def update_report(out: Path, step: int) -> None:
    """Writes the run's page; where it cannot be drawn that is said, for no run of days may end because of a picture.

    TrainingError where the disk is full.
    """
    with stop_on_full_disk(step, out):
        try:
            write_report(out)
        except (ArithmeticError, LookupError, TypeError, ValueError, DatasetError) as error:
            _log.warning("no report.html at step %d: %s; `kinema report %s` tries again", step, error, out)


def make_pictures_hook(out: Path, dataset: MediaDataset, every_steps: int) -> Hook:
    """Reconstructions of the same few clips, as `pictures/step-00000500.png`; others replace unreadable ones."""
    batch = _spread_clips(dataset, _PICTURED_CLIPS)

    def draw(method: Method, step: int, log: RunLog) -> None:
        device = next(method.parameters()).device
        reconstruction = method.reconstruct(batch.to(device))
        if reconstruction is not None:
            folder = out / "pictures"
            with stop_on_full_disk(step, out):
                folder.mkdir(exist_ok=True)
                write_picture(folder / f"step-{step:08d}.png", draw_reconstructions(reconstruction))

    return Hook(every_steps=every_steps, function=draw)


def make_held_out_hook(dataset: MediaDataset, config: TrainConfig, every_steps: int) -> Hook:
    """The method's loss on the same few batches of clips it never trains on, as `held_out/loss`.

    Raises DatasetError naming the first of them that cannot be read: another would be another measure.
    """
    size = max(min(config.batch_size, 64) // dataset.data.repeats, 1) * dataset.data.repeats
    loaded = list(islice(Loader(dataset, batch_size=size, num_workers=0), _HELD_OUT_BATCHES))
    for skipped in (file for each in loaded for file in each.skipped):
        raise DatasetError(
            f"a held-out clip cannot be read: {skipped.reason}",
            where=skipped.path,
            fix="repair it, or leave it out of --held-out",
        )
    batches = [each.batch for each in loaded]

    def measure(method: Method, step: int, log: RunLog) -> None:
        device = next(method.parameters()).device
        with autocast(resolve_precision(config.precision, device, "training", method), device):
            losses = [method(batch.to(device), 0.0).loss for batch in batches]
        log.record(step, {"held_out/loss": torch.stack(losses).mean().item()})

    return Hook(every_steps=every_steps, function=measure)


def make_davis_hook(out: Path, root: Path, every_steps: int) -> Hook:
    """J&F of the encoder on a DAVIS-2017 root under `dino_480p`, as `davis/J&F-Mean` and its parts.

    What it carried through the first sequence is kept as a film, `pictures/davis-step-00000500.mp4`.
    """
    sequences = read_sequences(root)
    protocol = get_protocol("dino_480p")

    def measure(method: Method, step: int, log: RunLog) -> None:
        device = next(method.parameters()).device
        export = method.encoder_export()
        encoder = ViT(ViTConfig(**export.config["encoder"])).to(device).eval()
        encoder.load_state_dict(export.tensors)
        extractor = FeatureExtractor(encoder, source=WeightsSource(source=f"step {step}", sha256=None), device=device)

        def film(sequence: DavisSequence, masks: np.ndarray) -> None:
            if sequence is sequences[0]:
                with stop_on_full_disk(step, out):
                    _write_film(out / "pictures" / f"davis-step-{step:08d}.mp4", sequence, masks)

        with without_tf32():  # as `kinema benchmark` computes it
            scores = compute_davis_scores(sequences, extractor, protocol, watch=film)
        log.record(step, {f"davis/{name}": scores[name] for name in ("J&F-Mean", "J-Mean", "F-Mean")})

    return Hook(every_steps=every_steps, function=measure)


def _write_film(path: Path, sequence: DavisSequence, masks: UInt8[np.ndarray, "F H W"]) -> None:
    """The masks over their frames, small enough for a page that has several."""
    size = compute_tile_size(*masks.shape[1:], columns=1, most_width=_FILM_WIDTH)
    shown = (
        resize_picture(overlay(read_image(frame), mask), size)
        for frame, mask in zip(sequence.frame_paths, masks, strict=True)
    )
    path.parent.mkdir(exist_ok=True)
    write_video(path, shown, _FILM_FPS)


def _spread_clips(dataset: MediaDataset, count: int) -> ClipBatch:
    """One clip of each of some videos spread over the data, the same at every call."""
    spread = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).astype(int).tolist()
    samples = [dataset.sample(0, index) for index in spread]
    for reason in dict.fromkeys(file.reason for sample in samples for file in sample.skipped):
        _log.warning("not pictured: %s", reason)
    return ClipBatch(
        frames=torch.from_numpy(np.stack([sample.frames[0] for sample in samples])),
        seeds=torch.from_numpy(np.stack([sample.seeds[0] for sample in samples])),
        ids=tuple(sample.ids[0] for sample in samples),
    )
