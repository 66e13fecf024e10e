"""Fewer labels: the files that a list names, or a share of every class (semi-supervised protocols of 1 % and 10 %)."""

import math
from dataclasses import replace
from pathlib import Path

from kinema import draws
from kinema.datasets.actions import LabeledSet
from kinema.errors import ConfigError, DatasetError


def only_listed(labeled: LabeledSet, file: Path) -> LabeledSet:
    """The files of the set that a list names, a name or a path a line, as SimCLR's lists of ImageNet do.

    A file counts as named where its own name, or its folder and name, is there. DatasetError where the list cannot be
    read, or names what the set does not have.
    """
    try:
        wanted = {line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()}
    except (OSError, UnicodeDecodeError) as fault:
        raise DatasetError("unreadable list", where=str(file), fix="give a text file with a name a line") from fault
    kept, met = [], set()
    for each in labeled.files:
        names = {each.path.name, f"{each.path.parent.name}/{each.path.name}", str(each.path)} & wanted
        if names:
            kept.append(each)
            met |= names
    absent = sorted(wanted - met)
    if absent or not kept:
        what = f"{len(absent)} of {len(wanted)} listed files are not in the training split"
        raise DatasetError(
            what, where=f"{file}: {absent[0] if absent else 'empty'}", fix="give the list of this data set"
        )
    return replace(labeled, files=tuple(kept))


def share_of_each_class(labeled: LabeledSet, share: float, *, seed: int = 0) -> LabeledSet:
    """A share of every class, at least one file of it, the same for the same seed. ConfigError outside (0, 1]."""
    if not 0 < share <= 1:
        raise ConfigError(f"share {share} of the training files", where="--train-share", fix="give e.g. 0.1")
    kept: set[int] = set()
    for label in range(len(labeled.class_names)):
        members = [number for number, file in enumerate(labeled.files) if file.label == label]
        order = draws.generator(seed, label, "low shot").permutation(len(members))
        kept |= {members[place] for place in order[: math.ceil(share * len(members) - 1e-9)]}
    return replace(labeled, files=tuple(file for number, file in enumerate(labeled.files) if number in kept))
