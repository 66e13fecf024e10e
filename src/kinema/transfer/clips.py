"""Videos to views, each decoded once for all of them; and labeled videos to features kept on disk."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from kinema.datasets.actions import LabeledSet
from kinema.datasets.labeled import labeled_items
from kinema.datasets.loader import start_worker
from kinema.datasets.scan import MediaItem, open_item
from kinema.errors import ConfigError, DatasetError, DecodeError
from kinema.features import FeatureExtractor, resize_frame
from kinema.settings import InputSize
from kinema.transfer.probe_config import ClipReading
from kinema.video.images import read_image
from kinema.video.reader import ArrayReader

Report = Callable[[str, int, int], None]
"""Told (what, videos done, videos in all) as work goes on."""


@dataclass(frozen=True)
class ClipFeatures:
    """Features of the videos of a set that could be read, in its order."""

    tokens: Float[Tensor, "N V S D"]
    """Of every view the tokens, or their mean (S = 1); fp16 on disk, mapped into memory as they are used."""
    labels: Int64[Tensor, " N"]
    paths: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]
    """(path, reason) of the others: they are in no number."""


def read_views(item: MediaItem, reading: ClipReading) -> UInt8[np.ndarray, "V T S S 3"]:
    """Every view of a video or image, crops within clips; all from one pass. DecodeError where it cannot be read."""
    if item.kind == "image":
        video, places = ArrayReader(read_image(Path(item.path))[None]), [(0,)]
    else:
        video = open_item(item)
        places = reading.sampling.views(reading.views, num_frames=video.num_frames, fps=video.fps)
    with video:
        wanted, slots = np.unique(np.array(places), return_inverse=True)
        frames = np.stack([_resized(frame, reading.size) for frame in video.frames(wanted)])
    clips = frames[slots.reshape(len(places), -1)]  # (views, T, h, w, 3)
    cut = [clips[:, :, top:, left:][:, :, : reading.size, : reading.size] for top, left in _corners(frames, reading)]
    return np.ascontiguousarray(np.stack(cut, axis=1).reshape(-1, *cut[0].shape[1:]))


def _resized(frame: UInt8[np.ndarray, "H W 3"], short_side: int) -> UInt8[np.ndarray, "h w 3"]:
    return resize_frame(frame, InputSize(short_side=short_side).of(*frame.shape[:2]), "pillow_bicubic")


def _corners(frames: np.ndarray, reading: ClipReading) -> list[tuple[int, int]]:
    """(top, left) of each crop."""
    spare_rows, spare_columns = frames.shape[1] - reading.size, frames.shape[2] - reading.size
    shares = (0.5,) if reading.crops == 1 else (0.0, 0.5, 1.0)
    return [(int(spare_rows * share), int(spare_columns * share)) for share in shares]


def extract(
    labeled: LabeledSet,
    extractor: FeatureExtractor,
    reading: ClipReading,
    file: Path,
    *,
    keep_tokens: bool,
    num_workers: int = 1,
    report: Report = lambda *_: None,
) -> ClipFeatures:
    """Features of every video of a set, written to `file` (.npy, fp16, (N, V, S, D)) as they come.

    keep_tokens: all tokens, for attentive probes; else one, as `reading.pooling` says. Unreadable videos are named in
    the result, never replaced. DatasetError where none can be read, and for images and videos in one set.
    """
    network = configure_network(extractor, reading)
    table: np.ndarray | None = None
    kept: list[int] = []
    unreadable: list[tuple[str, str]] = []
    file.parent.mkdir(parents=True, exist_ok=True)
    for number, views in enumerate(load_views(labeled_items(labeled), reading, num_workers=num_workers)):
        path = str(labeled.files[number].path)
        if isinstance(views, str):
            unreadable.append((path, views))
        else:
            tokens = torch.stack([_tokens(network, view, reading, keep_tokens) for view in views.numpy()])  # (V, S, D)
            if table is None:
                table = np.lib.format.open_memmap(
                    file, mode="w+", dtype=np.float16, shape=(len(labeled), *tokens.shape)
                )
            _check_same(table, tokens, path)
            table[len(kept)] = tokens.half().cpu().numpy()
            kept.append(number)
        report(Path(path).name, number + 1, len(labeled))
    if table is None:
        raise make_unreadable_error(unreadable)
    table.flush()
    return ClipFeatures(
        tokens=torch.from_numpy(table[: len(kept)]),
        labels=torch.tensor([labeled.files[number].label for number in kept]),
        paths=tuple(str(labeled.files[number].path) for number in kept),
        unreadable=tuple(unreadable),
    )


def configure_network(extractor: FeatureExtractor, reading: ClipReading) -> FeatureExtractor:
    """The network as clips are read for it. ConfigError where their size does not divide into its patches."""
    patch = extractor.backbone.patch_size
    if reading.size % patch:
        what = f"crops of {reading.size} pixels do not divide into patches of {patch}"
        raise ConfigError(what, where="--reading.size", fix=f"give {max(reading.size // patch, 1) * patch}")
    return extractor.with_settings(reading.features())


def load_views(
    items: Sequence[MediaItem], reading: ClipReading, *, num_workers: int
) -> Iterator[UInt8[Tensor, "V T S S 3"] | str]:
    """The views of each item in turn, or why it cannot be read."""
    views = _Views(items, reading)
    yield from DataLoader(views, batch_size=None, num_workers=num_workers, worker_init_fn=start_worker)


def make_unreadable_error(unreadable: Sequence[tuple[str, str]]) -> DatasetError:
    """The error of a set of which no file can be read, given (name, reason) of each: a reason says where and what to
    do."""
    reason = unreadable[0][1]
    return DatasetError(reason if len(unreadable) == 1 else f"none of {len(unreadable)} files can be read: {reason}")


def _tokens(network: FeatureExtractor, view: np.ndarray, reading: ClipReading, keep_all: bool) -> Tensor:
    return network.clip(view).flatten(0, 2) if keep_all else network.pooled(view, reading.pooling)[None]


def _check_same(table: np.ndarray, tokens: Tensor, path: str) -> None:
    if table.shape[1:] != tokens.shape:
        raise DatasetError("images and videos in one set", where=path, fix="give sets of one kind")


class _Views(Dataset):
    """The views of each item, or why it cannot be read."""

    def __init__(self, items: Sequence[MediaItem], reading: ClipReading) -> None:
        self._items, self._reading = items, reading

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, number: int) -> Tensor | str:
        try:
            return torch.from_numpy(read_views(self._items[number], self._reading))
        except DecodeError as fault:
            return str(fault)
