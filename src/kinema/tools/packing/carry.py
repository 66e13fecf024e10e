"""Lists of a collection carried along: every line that names a packed file names it as it is called in the pack."""

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
    """A list as it was carried."""

    name: str
    """Path in the pack."""
    renamed: int
    """Lines that name a packed file."""
    left_out: int
    """Lines left out, since what they name is not in the pack."""


def carry_lists(collection: Collection, folder: Path, renamed: Mapping[str, str]) -> list[CarriedList]:
    """Writes every list of the collection into the pack, sorted by name.

    renamed: the name in the pack of every file that is in it, by its name in the tree. Lines that name nothing, such as
    headers, class lists and notes, stay as they are.
    """
    root = os.path.abspath(collection.root)
    names = NamesInTree((entry.name for entry in collection.entries), root=root)
    carried: list[CarriedList] = []
    for path in _lists(collection.lists_in):
        name = os.path.relpath(os.path.abspath(path), root)
        if name.startswith(".."):  # a list that lies beside the tree of what it lists
            name = path.name
        content, about = _rewritten(path, name, names, renamed)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_synced(folder / name, content)
        carried.append(about)
    return carried


def _lists(source: Path | None) -> Iterator[Path]:
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


def _rewritten(path: Path, name: str, names: NamesInTree, renamed: Mapping[str, str]) -> tuple[bytes, CarriedList]:
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
            kept.append(line.replace(found.words, _new_words(found, renamed[found.name], name), 1))
            num_renamed += 1
        elif found is not None or _names_media(line, path):
            num_left_out += 1
        else:
            kept.append(line)
    return "".join(kept).encode(errors="surrogateescape"), CarriedList(
        name=name, renamed=num_renamed, left_out=num_left_out
    )


def _new_words(found: NamedFile, target: str, list_name: str) -> str:
    """What a line says from now on: the path from the list, or counted from where it was counted before."""
    if found.is_from_list:
        return posixpath.relpath(target, posixpath.dirname(list_name) or ".")
    words = found.words.rstrip("/")
    return words[: len(words) - len(posixpath.basename(found.name))] + posixpath.basename(target)


def _names_media(line: str, path: Path) -> bool:
    """Whether a line names a video or image that is there and was not packed, such as an excluded one."""
    for words in {line.strip(), line.strip().split(",")[0], *line.split()[:1]}:
        suffix = os.path.splitext(words)[1].lower()
        if suffix in VIDEO_SUFFIXES | IMAGE_SUFFIXES and (path.parent / words).is_file():
            return True
    return False
