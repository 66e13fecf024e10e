"""Which file of a tree a line of a list means, whatever folder its author counted paths from."""

import csv
import posixpath
from collections.abc import Iterable
from typing import NamedTuple

_MAX_COLUMNS = 8
"""Columns of a CSV, or words of a line, that are looked at for a path."""


class NamedFile(NamedTuple):
    """What a line names."""

    words: str
    """The part of the line that names it."""
    name: str
    """The file's path from the root of the tree."""
    is_from_list: bool
    """Whether the words are its path from the list's folder, or an absolute one; otherwise from somewhere else."""


class NamesInTree:
    """The files of a tree by name; names are paths from its root, folders separated by /.

    root: where the tree lies, an absolute path.
    """

    def __init__(self, names: Iterable[str], *, root: str = "/") -> None:
        self._names = set(names)
        self._root = root
        self._by_last: dict[str, list[str]] = {}
        for name in self._names:
            self._by_last.setdefault(posixpath.basename(name), []).append(name)

    def find(self, line: str, *, folder: str) -> NamedFile | None:
        """The file that a line of a list in `folder` (an absolute path) names; None where it names none.

        The whole line, its columns and its words are tried in this order. They name a file by its path from the list's
        folder or from the root, or by the end of its path where no other file's path ends in the same.
        """
        for words in _candidates(line):
            path = posixpath.relpath(posixpath.join(folder, words), self._root)
            if path in self._names:
                return NamedFile(words, path, is_from_list=True)
            name = self._ending_in(posixpath.normpath(words))
            if name is not None:
                return NamedFile(words, name, is_from_list=False)
        return None

    def _ending_in(self, path: str) -> str | None:
        if path in self._names:
            return path
        alike = [name for name in self._by_last.get(posixpath.basename(path), ()) if name.endswith(f"/{path}")]
        return alike[0] if len(alike) == 1 else None


def _candidates(line: str) -> list[str]:
    text = line.strip()
    if not text or text[0] == "#":
        return []
    try:
        columns = next(csv.reader([text]))
    except csv.Error:
        columns = []
    found = [text, *columns[:_MAX_COLUMNS], *text.split()[:_MAX_COLUMNS]]
    return [words for words in dict.fromkeys(part.strip() for part in found) if words]
