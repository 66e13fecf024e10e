"""Fewer labels: the files that a list names, or a share of every class (semi-supervised protocols of 1 % and 10 %)."""

import math
from dataclasses import replace
from pathlib import Path

from kinema import draws
from kinema.datasets.actions import LabelledSet
from kinema.errors import ConfigError, DatasetError


def only_listed(labelled: LabelledSet, file: Path) -> LabelledSet:
    """The files of the set that a list names, a name or a path a line, as SimCLR's lists of ImageNet do.

    A file counts as named where its own name, or its folder and name, is there. DatasetError where the list cannot be
    read, or names what the set does not have.
    """
    try:
        wanted = {line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()}
    except (OSError, UnicodeDecodeError) as fault:
        raise DatasetError("unreadable list", where=str(file), fix="give a text file with a name a line") from fault
    kept, met = [], set()
    for each in labelled.files:
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
    return replace(labelled, files=tuple(kept))


def share_of_each_class(labelled: LabelledSet, share: float, *, seed: int = 0) -> LabelledSet:
    """A share of every class, at least one file of it, the same for the same seed. ConfigError outside (0, 1]."""
    if not 0 < share <= 1:
        raise ConfigError(f"share {share} of the training files", where="--train-share", fix="give e.g. 0.1")
    kept: set[int] = set()
    for label in range(len(labelled.class_names)):
        members = [number for number, file in enumerate(labelled.files) if file.label == label]
        order = draws.generator(seed, label, "low shot").permutation(len(members))
        kept |= {members[place] for place in order[: math.ceil(share * len(members) - 1e-9)]}
    return replace(labelled, files=tuple(file for number, file in enumerate(labelled.files) if number in kept))
