"""What the benchmarks' data sets have in common: lists of names, and folders of numbered files."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from kinema.errors import ConfigError, DatasetError, nearest


def chosen(names: Sequence[str] | None, listed: Sequence[str], *, split: str, where: Path) -> list[str]:
    """`names` in their order, or all that are listed where none are given.

    DatasetError for an empty list, ConfigError for a name that it does not have. where: the list's file.
    """
    if not listed:
        raise DatasetError("the list names no sequence", where=str(where), fix="unpack the data set again")
    for name in names or ():
        if name not in listed:
            fix = f"{nearest(name, listed)}its list has {len(listed)}"
            raise ConfigError(f"no sequence {name!r} in {split}", fix=fix)
    return list(names or listed)


def require_split(split: str, splits: Sequence[str], *, where: Path, root: Path) -> None:
    """DatasetError where a data set has no such list; it names those there are. where: the file it would be in."""
    if split not in splits:
        what = f"no {where.relative_to(root)}: there is no list {split!r}"
        raise DatasetError(what, where=str(root), fix=f"{nearest(split, splits)}choose from {', '.join(splits)}")


def numbered_files(folder: Path, suffix: str, *, what: str, gaps: bool = False) -> tuple[Path, ...]:
    """The files of a folder named by number, in numeric order.

    what: plural, for the message. DatasetError where there is none, one is not named by a number, or, without `gaps`,
    a number between the first and the last is missing.
    """
    files = [path for path in folder.glob(f"*{suffix}") if path.name[0] != "."]
    if not files:
        fix = "unpack the data set again, or take the sequence off the list"
        raise DatasetError(f"sequence {folder.name} has no {what}", where=str(folder), fix=fix)
    strange = next((path.name for path in files if not (path.stem.isascii() and path.stem.isdigit())), None)
    if strange:
        fix = f"name {what} by number, as the data set does"
        raise DatasetError(f"{strange} among the {what}", where=str(folder), fix=fix)
    ordered = tuple(sorted(files, key=lambda path: int(path.stem)))
    if not gaps:
        _require_no_gap(ordered, what)
    return ordered


def _require_no_gap(files: Sequence[Path], what: str) -> None:
    for before, after in pairwise(files):
        if int(after.stem) != int(before.stem) + 1:
            missing = f"{int(before.stem) + 1:0{len(before.stem)}d}{before.suffix}"
            fix = "unpack the data set again, or take the sequence off the list"
            raise DatasetError(
                f"a gap in the {what}: {missing} is missing, {after.name} is there", where=str(before.parent), fix=fix
            )
