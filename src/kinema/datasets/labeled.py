"""Labeled files as sources of training clips, so that fine-tuning reads them as pre-training reads its own."""

from pathlib import Path

from kinema.datasets.actions import LabeledSet
from kinema.datasets.scan import Kind, MediaItem
from kinema.video.images import IMAGE_SUFFIXES


def labeled_items(labeled: LabeledSet) -> list[MediaItem]:
    """An item with its class for every file of the set, in the set's order; folders are folders of frames."""
    return [MediaItem(path=file.path, kind=_kind(file.path), label=file.label) for file in labeled.files]


def _kind(path: Path) -> Kind:
    if path.is_dir():
        return "frames"
    return "image" if path.suffix.lower() in IMAGE_SUFFIXES else "video"
