"""What is to be packed: every file of a collection with its name in the tree, in an order that never changes."""

import hashlib
import os
import posixpath
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from kinema.datasets.packs import PackedVideo
from kinema.datasets.scan import LIST_SUFFIXES, MediaItem, scan
from kinema.datasets.storage import is_url
from kinema.datasets.tars import TarMember
from kinema.errors import DatasetError


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One video, folder of frames or image to pack."""

    number: int
    """Place in the sorted collection."""
    item: MediaItem
    name: str
    """Path from the root of the tree, folders separated by /."""
    size_bytes: int
    """Of the source; of a folder of frames, how many entries it has."""


@dataclass(frozen=True, kw_only=True)
class Collection:
    """All that is packed."""

    root: str
    """The folder, or URL, that names are counted from."""
    lists_in: Path | None
    """A list, or a folder that may hold lists; None at a URL."""
    entries: tuple[Entry, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of names and sizes, the same for the same collection."""
        lines = (f"{entry.item.kind} {entry.size_bytes} {entry.name}\n" for entry in self.entries)
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def collect(source: str, *, exclude: Sequence[Path] = (), single_images: bool = False) -> Collection:
    """What a source holds, sorted by name.

    single_images: images of a folder are one each; otherwise two or more without a video beside them are the frames of
    one. DatasetError where the source is not there or holds nothing.
    """
    items = _items(source, exclude, single_images=single_images)
    root, lists_in = _root(source, items)
    named = sorted((_name(item, root), number) for number, item in enumerate(items))
    twice = [name for name, count in Counter(name for name, _ in named).items() if count > 1]
    if twice:
        raise DatasetError(f"two files are called {twice[0]}", where=source, fix="rename one of them")
    entries = [
        Entry(number=place, item=items[number], name=name, size_bytes=_size(items[number]))
        for place, (name, number) in enumerate(named)
    ]
    return Collection(root=root, lists_in=lists_in, entries=tuple(entries))


def targets(entries: Sequence[Entry], *, form: Literal["shards", "h264"]) -> dict[str, str]:
    """The new name of every entry's name: in shards the same; in a tree of MP4 files with `.mp4`, images as they are.

    Where two would be called the same, `.mp4` follows their whole names.
    """
    if form == "shards":
        return {entry.name: entry.name for entry in entries}
    short = {entry.name: _as_mp4(entry) for entry in entries}
    counts = Counter(name.casefold() for name in short.values())  # there are disks that ignore case
    taken = {name.casefold() for name in short.values() if counts[name.casefold()] == 1}
    renamed: dict[str, str] = {}
    for name, target in short.items():
        is_free = counts[target.casefold()] == 1 or target == name
        while not is_free:
            target = f"{name}.mp4" if f"{name}.mp4" != target and target == short[name] else f"{target}.mp4"
            is_free = target.casefold() not in taken
        taken.add(target.casefold())
        renamed[name] = target
    return renamed


def _as_mp4(entry: Entry) -> str:
    if entry.item.kind == "image":
        return entry.name
    stem = entry.name if entry.item.kind == "frames" else str(PurePosixPath(entry.name).with_suffix(""))
    return f"{stem}.mp4"


def _items(source: str, exclude: Sequence[Path], *, single_images: bool) -> list[MediaItem]:
    everything = scan([source], exclude=exclude, images=True)
    if single_images or all(item.kind != "image" for item in everything):
        return everything
    try:
        clips = scan([source], exclude=exclude)
    except DatasetError:  # nothing there but single images
        return everything
    folders = {item.path for item in clips if item.kind == "frames"}
    return clips + [item for item in everything if item.kind == "image" and Path(item.path).parent not in folders]


def _root(source: str, items: Sequence[MediaItem]) -> tuple[str, Path | None]:
    if is_url(source):
        return source, None
    path = Path(source)
    if path.is_dir():
        return str(path), path
    folder = os.path.abspath(path.parent)
    if path.suffix.lower() not in LIST_SUFFIXES:
        return folder, None
    places = [os.path.dirname(os.path.abspath(item.path)) for item in items if not is_url(item.path)]
    common = os.path.commonpath(places) if places else folder
    return (folder if os.path.commonpath([folder, common]) == folder else common), path


def _name(item: MediaItem, root: str) -> str:
    path = "" if str(item.path) == root else str(item.path)
    if path and not is_url(path):
        absolute = os.path.abspath(path)
        path = os.path.relpath(absolute, os.path.abspath(root)).replace(os.sep, "/")
    if item.entry is None:
        return path or os.path.basename(os.path.abspath(root))  # the source is one folder of frames
    # a name inside an archive may be anything; nothing of it leads out of the tree
    inside = [part for part in item.entry.name.split("/") if part not in ("", ".", "..")]
    outside = posixpath.basename(path) if is_url(path) else path
    return posixpath.join(outside, *inside)


def _size(item: MediaItem) -> int:
    if isinstance(item.entry, TarMember):
        return item.entry.size
    if isinstance(item.entry, PackedVideo):
        return item.entry.num_frames
    try:
        return len(os.listdir(item.path)) if item.kind == "frames" else os.stat(item.path).st_size
    except OSError:  # it will be listed as unreadable when it is opened
        return 0
