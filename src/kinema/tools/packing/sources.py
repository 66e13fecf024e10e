"""The files to pack: every file of a collection with its name in the tree, sorted by name."""

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
    """Position in the sorted collection."""
    item: MediaItem
    name: str
    """Path from the root of the tree, with / between folders."""
    size_bytes: int
    """Size of the source; for a folder of frames, its number of files."""


@dataclass(frozen=True, kw_only=True)
class Collection:
    """All files to pack."""

    root: str
    """Folder or URL that names are relative to."""
    lists_in: Path | None
    """A list, or a folder that may contain lists; None for a URL."""
    entries: tuple[Entry, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of names and sizes, which identifies the collection."""
        lines = (f"{entry.item.kind} {entry.size_bytes} {entry.name}\n" for entry in self.entries)
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def collect(source: str, *, exclude: Sequence[Path] = (), single_images: bool = False) -> Collection:
    """Collects the files of a source, sorted by name.

    single_images: whether each image stands alone; otherwise two or more images in a folder without videos are the
    frames of one video. Raises DatasetError if the source is absent or empty.
    """
    items = _scan(source, exclude, single_images=single_images)
    root, lists_in = _find_root(source, items)
    named = sorted((_get_name(item, root), number) for number, item in enumerate(items))
    twice = [name for name, count in Counter(name for name, _ in named).items() if count > 1]
    if twice:
        raise DatasetError(f"two files are named {twice[0]}", where=source, fix="rename one of them")
    entries = [
        Entry(number=place, item=items[number], name=name, size_bytes=_get_size(items[number]))
        for place, (name, number) in enumerate(named)
    ]
    return Collection(root=root, lists_in=lists_in, entries=tuple(entries))


def choose_names(entries: Sequence[Entry], *, form: Literal["shards", "h264"]) -> dict[str, str]:
    """Returns the packed name of every entry, by its name.

    Shards keep the names. In a tree of MP4 files the suffix becomes `.mp4`, except for images; if two names would then
    be equal, `.mp4` is added to their whole names.
    """
    if form == "shards":
        return {entry.name: entry.name for entry in entries}
    short = {entry.name: _replace_suffix(entry) for entry in entries}
    counts = Counter(name.casefold() for name in short.values())  # some file systems ignore case
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


def _replace_suffix(entry: Entry) -> str:
    if entry.item.kind == "image":
        return entry.name
    stem = entry.name if entry.item.kind == "frames" else str(PurePosixPath(entry.name).with_suffix(""))
    return f"{stem}.mp4"


def _scan(source: str, exclude: Sequence[Path], *, single_images: bool) -> list[MediaItem]:
    everything = scan([source], exclude=exclude, images=True)
    if single_images or all(item.kind != "image" for item in everything):
        return everything
    try:
        clips = scan([source], exclude=exclude)
    except DatasetError:  # the source holds single images only
        return everything
    folders = {item.path for item in clips if item.kind == "frames"}
    return clips + [item for item in everything if item.kind == "image" and Path(item.path).parent not in folders]


def _find_root(source: str, items: Sequence[MediaItem]) -> tuple[str, Path | None]:
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


def _get_name(item: MediaItem, root: str) -> str:
    path = "" if str(item.path) == root else str(item.path)
    if path and not is_url(path):
        absolute = os.path.abspath(path)
        path = os.path.relpath(absolute, os.path.abspath(root)).replace(os.sep, "/")
    if item.entry is None:
        return path or os.path.basename(os.path.abspath(root))  # the source is one folder of frames
    # A name inside an archive can be anything; parts that would lead out of the tree are dropped.
    inside = [part for part in item.entry.name.split("/") if part not in ("", ".", "..")]
    outside = posixpath.basename(path) if is_url(path) else path
    return posixpath.join(outside, *inside)


def _get_size(item: MediaItem) -> int:
    if isinstance(item.entry, TarMember):
        return item.entry.size
    if isinstance(item.entry, PackedVideo):
        return item.entry.num_frames
    try:
        return len(os.listdir(item.path)) if item.kind == "frames" else os.stat(item.path).st_size
    except OSError:  # the file is reported as unreadable when it is opened
        return 0
