"""Copies the lists of a collection into a pack, with the packed names of the files that their lines name."""

import os
import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kinema.datasets.lists import NamedFile, NamesInTree
from kinema.datasets.scan import VIDEO_SUFFIXES
from kinema.tools.packing.ledger import write_synced
from kinema.tools.packing.sources import Collection
from kinema.video.images import IMAGE_SUFFIXES

SUFFIXES = (".csv", ".txt")
_MAX_LIST_BYTES = 2**28


@dataclass(frozen=True, kw_only=True)
class CarriedList:
    """A list that was copied into a pack."""

    name: str
    """Path in the pack."""
    renamed: int
    """Number of lines that name a packed file."""
    left_out: int
    """Number of lines left out because the pack does not contain the file that they name."""


def carry_lists(collection: Collection, folder: Path, renamed: Mapping[str, str]) -> list[CarriedList]:
    """Writes every list of the collection into the pack, sorted by name.

    renamed: packed name of every packed file, by its name in the tree. Lines that name no file, such as headers, class
    lists and comments, are copied unchanged.
    """
    root = os.path.abspath(collection.root)
    names = NamesInTree((entry.name for entry in collection.entries), root=root)
    carried: list[CarriedList] = []
    for path in _find_lists(collection.lists_in):
        name = os.path.relpath(os.path.abspath(path), root)
        if name.startswith(".."):  # the list lies outside the tree that it lists
            name = path.name
        content, about = _rewrite(path, name, names, renamed)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_synced(folder / name, content)
        carried.append(about)
    return carried


def _find_lists(source: Path | None) -> Iterator[Path]:
    if source is None:
        return
    if source.is_file():
        yield from [source] if source.suffix.lower() in SUFFIXES else []
        return
    for folder, folders, files in os.walk(source):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        for name in sorted(files):
            if name[0] != "." and name.lower().endswith(SUFFIXES):
                yield Path(folder, name)


def _rewrite(path: Path, name: str, names: NamesInTree, renamed: Mapping[str, str]) -> tuple[bytes, CarriedList]:
    content = path.read_bytes()
    try:
        text = content.decode("utf-8") if len(content) <= _MAX_LIST_BYTES else None
    except UnicodeDecodeError:
        text = None
    if text is None:
        return content, CarriedList(name=name, renamed=0, left_out=0)
    kept: list[str] = []
    num_renamed = num_left_out = 0
    folder = os.path.dirname(os.path.abspath(path))
    for line in text.splitlines(keepends=True):
        found = names.find(line, folder=folder)
        if found is not None and found.name in renamed:
            kept.append(line.replace(found.words, _format_name(found, renamed[found.name], name), 1))
            num_renamed += 1
        elif found is not None or _names_media(line, path):
            num_left_out += 1
        else:
            kept.append(line)
    return "".join(kept).encode(errors="surrogateescape"), CarriedList(
        name=name, renamed=num_renamed, left_out=num_left_out
    )


def _format_name(found: NamedFile, target: str, list_name: str) -> str:
    """Returns the new words of a line: a path relative to the list, or to the same folder as before."""
    if found.is_from_list:
        return posixpath.relpath(target, posixpath.dirname(list_name) or ".")
    words = found.words.rstrip("/")
    return words[: len(words) - len(posixpath.basename(found.name))] + posixpath.basename(target)


def _names_media(line: str, path: Path) -> bool:
    """Tells whether a line names an existing video or image that was not packed, such as an excluded one."""
    for words in {line.strip(), line.strip().split(",")[0], *line.split()[:1]}:
        suffix = os.path.splitext(words)[1].lower()
        if suffix in VIDEO_SUFFIXES | IMAGE_SUFFIXES and (path.parent / words).is_file():
            return True
    return False
