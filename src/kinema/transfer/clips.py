"""Reads the views of labeled videos, each in one pass, and writes their features to disk."""

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
"""Called with (name, videos done, total number of videos) after each video."""


@dataclass(frozen=True)
class ClipFeatures:
    """Features of the readable videos of a set, in the order of the set."""

    tokens: Float[Tensor, "N V S D"]
    """The tokens of every view or their mean (S = 1), as fp16 in a memory-mapped file."""
    labels: Int64[Tensor, " N"]
    paths: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]
    """(path, reason) of the other videos, which no score counts."""


def read_views(item: MediaItem, reading: ClipReading) -> UInt8[np.ndarray, "V T S S 3"]:
    """Reads all views of a video or image in one pass, with the crops of each clip next to each other.

    Raises DecodeError if the item cannot be read.
    """
    if item.kind == "image":
        video, ids_by_clip = ArrayReader(read_image(Path(item.path))[None]), [(0,)]
    else:
        video = open_item(item)
        ids_by_clip = reading.sampling.views(reading.views, num_frames=video.num_frames, fps=video.fps)
    with video:
        # Clips of one video may share frames, so each frame is decoded once.
        frame_ids, slots = np.unique(np.array(ids_by_clip), return_inverse=True)
        frames = np.stack([_resize_short_side(frame, reading.size) for frame in video.frames(frame_ids)])
    clips = frames[slots.reshape(len(ids_by_clip), -1)]  # (views, T, h, w, 3)
    corners = _find_crop_corners(frames, reading)
    crops = [clips[:, :, top:, left:][:, :, : reading.size, : reading.size] for top, left in corners]
    return np.ascontiguousarray(np.stack(crops, axis=1).reshape(-1, *crops[0].shape[1:]))


def _resize_short_side(frame: UInt8[np.ndarray, "H W 3"], short_side: int) -> UInt8[np.ndarray, "h w 3"]:
    return resize_frame(frame, InputSize(short_side=short_side).of(*frame.shape[:2]), "pillow_bicubic")


def _find_crop_corners(frames: np.ndarray, reading: ClipReading) -> list[tuple[int, int]]:
    """Returns (top, left) of each crop."""
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
    """Computes the features of every video of a set and writes each to `file` (.npy, fp16, (N, V, S, D)) at once.

    keep_tokens: keeps all tokens, for attentive probes; otherwise one vector as `reading.pooling` says. Unreadable
    videos are listed in the result. Raises DatasetError if no video can be read, or if the set has images and videos.
    """
    network, table = configure_network(extractor, reading), None
    read_ids: list[int] = []
    unreadable: list[tuple[str, str]] = []
    file.parent.mkdir(parents=True, exist_ok=True)
    for index, views in enumerate(load_views(labeled_items(labeled), reading, num_workers=num_workers)):
        path = str(labeled.files[index].path)
        if isinstance(views, str):
            unreadable.append((path, views))
        else:
            tokens = _compute_tokens(network, views.numpy(), reading, keep_all=keep_tokens)  # (V, S, D)
            if table is None:
                shape = (len(labeled), *tokens.shape)
                table = np.lib.format.open_memmap(file, mode="w+", dtype=np.float16, shape=shape)
            _check_shape(table, tokens, path)
            table[len(read_ids)] = tokens.half().cpu().numpy()
            read_ids.append(index)
        report(Path(path).name, index + 1, len(labeled))
    if table is None:
        raise make_unreadable_error(unreadable)
    table.flush()
    return ClipFeatures(
        tokens=torch.from_numpy(table[: len(read_ids)]),
        labels=torch.tensor([labeled.files[index].label for index in read_ids]),
        paths=tuple(str(labeled.files[index].path) for index in read_ids),
        unreadable=tuple(unreadable),
    )


def configure_network(extractor: FeatureExtractor, reading: ClipReading) -> FeatureExtractor:
    """Returns the extractor with the settings of `reading`.

    Raises ConfigError if the patch size does not divide the crop size.
    """
    patch = extractor.backbone.patch_size
    if reading.size % patch:
        what = f"crops of {reading.size} pixels do not divide into patches of {patch}"
        raise ConfigError(what, where="--reading.size", fix=f"give {max(reading.size // patch, 1) * patch}")
    return extractor.with_settings(reading.to_feature_settings())


def load_views(
    items: Sequence[MediaItem], reading: ClipReading, *, num_workers: int
) -> Iterator[UInt8[Tensor, "V T S S 3"] | str]:
    """Yields the views of each item, or the reason why it cannot be read."""
    views = _ViewDataset(items, reading)
    yield from DataLoader(views, batch_size=None, num_workers=num_workers, worker_init_fn=start_worker)


def make_unreadable_error(unreadable: Sequence[tuple[str, str]]) -> DatasetError:
    """Returns the error for a set without a readable file, given (name, reason) of each file.

    A reason is a complete error message, which says where and what to do.
    """
    reason = unreadable[0][1]
    return DatasetError(reason if len(unreadable) == 1 else f"none of {len(unreadable)} files can be read: {reason}")


def _compute_tokens(network: FeatureExtractor, views: np.ndarray, reading: ClipReading, *, keep_all: bool) -> Tensor:
    if keep_all:
        return torch.stack([network.clip(view).flatten(0, 2) for view in views])
    return torch.stack([network.pooled(view, reading.pooling)[None] for view in views])


def _check_shape(table: np.ndarray, tokens: Tensor, path: str) -> None:
    if table.shape[1:] != tokens.shape:
        raise DatasetError("images and videos in one set", where=path, fix="give sets of one kind")


class _ViewDataset(Dataset):
    """The views of each item, or the reason why it cannot be read."""

    def __init__(self, items: Sequence[MediaItem], reading: ClipReading) -> None:
        self._items, self._reading = items, reading

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Tensor | str:
        try:
            return torch.from_numpy(read_views(self._items[index], self._reading))
        except DecodeError as error:
            return str(error)
