"""Labeled videos (and images) of action recognition: UCF101, HMDB51, Kinetics, Something-Something v2, any list.

Every reader gives typed rows; an error names the file and the line it is about. Lists are read, no video is opened.
"""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinema.datasets.scan import VIDEO_SUFFIXES
from kinema.errors import ConfigError, DatasetError, nearest
from kinema.video.images import IMAGE_SUFFIXES

_UNPACK = "correct the list, or unpack the data set again"


@dataclass(frozen=True)
class LabeledFile:
    """One video or image and its class."""

    path: Path
    label: int
    """Index into the set's class names."""


@dataclass(frozen=True)
class LabeledSet:
    """The files of one split, in the order of its list."""

    class_names: tuple[str, ...]
    files: tuple[LabeledFile, ...]

    def __len__(self) -> int:
        return len(self.files)


@dataclass(frozen=True)
class _Row:
    """A line of a list before its path and its class are looked up."""

    name: str
    class_name: str
    where: str


def read_labeled(dataset: str, root: Path, split: str, *, fold: int = 1) -> LabeledSet:
    """The labeled files of a split of `ucf101`, `hmdb51`, `kinetics`, `ssv2`, `moments`, `folders` or `list`.

    split: `train`, `val` or `test`, as the data set has it. fold: 1 to 3, of UCF101 and HMDB51. Layouts:
    - ucf101: `videos` or `UCF-101`, a folder a class; `splits` or `ucfTrainTestlist` with classInd.txt,
      trainlist01.txt ... (Soomro et al. 2012, arXiv:1212.0402).
    - hmdb51: a folder a class; `testTrainMulti_7030_splits/<class>_test_split1.txt`, mark 1 train, 2 test
      (Kuehne et al. 2011).
    - kinetics: `<split>.csv` with label, youtube_id, time_start, time_end; files `<split>/<label>/<id>_<start>_<end>.*`
      (six digits each) or `<split>/<id>_...`.
    - ssv2: `labels.json`, `<split>.json` (or the official something-something-v2-* names); files `videos/<id>.*`.
    - moments: `moments_categories.txt` with NAME,NUMBER; `trainingSet.csv`, `validationSet.csv` with CLASS/FILE,CLASS
      and votes; files `training/<class>/*`, `validation/<class>/*` (Monfort et al. 2019, arXiv:1801.03150).
    - folders: `<split>/<class>/...`, videos or images.
    - list: `<split>.csv` or `<split>.txt`, columns path and label: with a header that names them, or without one and
      separated by a comma or a last blank, as VideoMAE's lists are; paths relative to the list. Labels are names or
      numbers.
    DatasetError for a list that is absent or malformed, a file that is not there, and a class the set does not have.
    """
    if dataset not in READERS:
        fix = f"{nearest(dataset, READERS)}choose from {', '.join(READERS)}"
        raise ConfigError(f"no labeled data set {dataset!r}", where="--dataset", fix=fix)
    found = READERS[dataset](root, split, fold)
    if not found.files:
        raise DatasetError(f"no file in split {split}", where=str(root), fix=_UNPACK)
    return found


def check_classes(train: LabeledSet, test: LabeledSet) -> None:
    """DatasetError where the two sets name other classes, or a class is tested that was never seen in training."""
    if train.class_names != test.class_names:
        odd = sorted({*train.class_names} ^ {*test.class_names})
        what = f"train has {len(train.class_names)} classes and test {len(test.class_names)}"
        raise DatasetError(what, where=f"for example {odd[0]!r}" if odd else "their order", fix=_UNPACK)
    unseen = sorted({file.label for file in test.files} - {file.label for file in train.files})
    if unseen:
        names = ", ".join(test.class_names[label] for label in unseen[:3])
        fix = "add training clips of it, or take it off the test list"
        raise DatasetError(f"{len(unseen)} tested classes have no training clip", where=names, fix=fix)


def _ucf101(root: Path, split: str, fold: int) -> LabeledSet:
    lists = _first_there(root, ("splits", "ucfTrainTestlist"), "UCF101")
    videos = _first_there(root, ("videos", "UCF-101"), "UCF101")
    numbered = [_fields(line, where, 2) for where, line in _lines(lists / "classInd.txt")]
    class_names = [name for _, name in numbered]
    rows = []
    for where, line in _lines(lists / f"{_train_or_test(split)}list{_fold(fold):02d}.txt"):
        name, *number = line.split()
        class_name = name.split("/")[0]
        if number and [*number, class_name] not in numbered:  # training lists repeat the class as its number
            raise DatasetError(f"class {class_name} is not number {number[0]}", where=where, fix=_UNPACK)
        rows.append(_Row(name=name, class_name=class_name, where=where))
    return _looked_up(rows, class_names, lambda row: videos / row.name)


def _hmdb51(root: Path, split: str, fold: int) -> LabeledSet:
    lists = _first_there(root, ("testTrainMulti_7030_splits", "splits"), "HMDB51")
    videos = next((root / name for name in ("videos", "hmdb51_org") if (root / name).is_dir()), root)
    mark = {"train": "1", "test": "2"}[_train_or_test(split)]
    ending = f"_test_split{_fold(fold)}.txt"
    files = sorted(lists.glob(f"*{ending}"))
    if not files:
        raise DatasetError(f"no list of fold {fold}", where=str(lists), fix=f"expected <class>{ending}")
    rows = []
    for file in files:
        name = file.name.removesuffix(ending)
        for where, line in _lines(file):
            video, marked = _fields(line, where, 2)
            rows += [_Row(name=f"{name}/{video}", class_name=name, where=where)] if marked == mark else []
    return _looked_up(rows, [file.name.removesuffix(ending) for file in files], lambda row: videos / row.name)


def _kinetics(root: Path, split: str, fold: int) -> LabeledSet:
    rows = []
    for where, row in _records(root / f"{split}.csv", ("label", "youtube_id", "time_start", "time_end")):
        start, end = (_number(row[name], where) for name in ("time_start", "time_end"))
        rows.append(_Row(name=f"{row['youtube_id']}_{start:06d}_{end:06d}", class_name=row["label"], where=where))
    by_stem = {path.stem: path for path in _media_below(root / split)}
    return _looked_up(rows, sorted({row.class_name for row in rows}), lambda row: by_stem.get(row.name))


def _moments(root: Path, split: str, fold: int) -> LabeledSet:
    names = {"train": ("training", "trainingSet.csv"), "val": ("validation", "validationSet.csv")}
    if split not in names:
        raise ConfigError(f"no split {split!r}", fix="it has train and val")
    folder, listing = names[split]
    categories = root / "moments_categories.txt"
    numbered = [(line.rsplit(",", 1), where) for where, line in _lines(categories)]
    if any(len(cells) != 2 for cells, _ in numbered):
        raise DatasetError("not NAME,NUMBER a line", where=str(categories), fix=_UNPACK)
    class_names = [name for (name, _), where in sorted(numbered, key=lambda row: _number(row[0][1], row[1]))]
    rows = []
    for where, line in _lines(root / listing):
        name, *rest = next(csv.reader([line]))
        rows.append(_Row(name=name, class_name=rest[0] if rest else name.split("/")[0], where=where))
    return _looked_up(rows, class_names, lambda row: root / folder / row.name)


def _ssv2(root: Path, split: str, fold: int) -> LabeledSet:
    official = {"val": "validation"}.get(split, split)
    labels = _json(_first_there(root, ("labels.json", "something-something-v2-labels.json"), "SSv2"))
    names = (f"{split}.json", f"something-something-v2-{official}.json")
    listed = _json(file := _first_there(root, names, "SSv2"))
    try:
        class_names = sorted(labels, key=lambda name: int(labels[name]))
        rows = [
            _Row(str(clip["id"]), clip["template"].replace("[", "").replace("]", ""), f"{file}, clip {number}")
            for number, clip in enumerate(listed, start=1)
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        raise DatasetError("not SSv2's labels and clips", where=str(file), fix=_UNPACK) from fault
    videos = _first_there(root, ("videos", "20bn-something-something-v2"), "SSv2")
    by_stem = {path.stem: path for path in _media_below(videos)}
    return _looked_up(rows, class_names, lambda row: by_stem.get(row.name))


def _folders(root: Path, split: str, fold: int) -> LabeledSet:
    folder = _first_there(root, (split,), "a data set of class folders")
    class_names = sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
    files = [LabeledFile(path, label) for label, name in enumerate(class_names) for path in _media_below(folder / name)]
    return LabeledSet(tuple(class_names), tuple(files))


def _listed(root: Path, split: str, fold: int) -> LabeledSet:
    file = _first_there(root, (f"{split}.csv", f"{split}.txt"), "a labeled list")
    rows = [_Row(name, label, where) for where, name, label in _paths_and_labels(file)]
    names = {row.class_name for row in rows}
    numbered = all(name.isascii() and name.isdigit() for name in names)
    class_names = [str(k) for k in range(max(map(int, names)) + 1)] if numbered and names else sorted(names)
    return _looked_up(rows, class_names, lambda row: file.parent / row.name)


def _paths_and_labels(file: Path) -> Iterator[tuple[str, str, str]]:
    """(place, path, label) of each line of a list, whichever of the accepted forms it has."""
    lines = list(_lines(file))
    header = [cell.strip().lower() for cell in next(csv.reader([lines[0][1]]))] if lines else []
    if "path" in header and "label" in header:
        for where, row in _records(file, ("path", "label")):
            yield where, row["path"], row["label"]
        return
    for where, line in lines:
        cells = next(csv.reader([line])) if "," in line else line.rsplit(maxsplit=1)
        if len(cells) != 2:
            raise DatasetError(f"{line!r} is not a path and a label", where=where, fix="write PATH,LABEL")
        yield where, cells[0].strip(), cells[1].strip()


READERS: dict[str, Callable[[Path, str, int], LabeledSet]] = {
    "ucf101": _ucf101,
    "hmdb51": _hmdb51,
    "kinetics": _kinetics,
    "ssv2": _ssv2,
    "moments": _moments,
    "folders": _folders,
    "list": _listed,
}
"""Data set by name: (root, split, fold) to its labeled files."""


def _looked_up(rows: Sequence[_Row], class_names: Sequence[str], find: Callable[[_Row], Path | None]) -> LabeledSet:
    label_of = {name: label for label, name in enumerate(class_names)}
    files = []
    for row in rows:
        path = find(row)
        if row.class_name not in label_of:
            fix = f"{nearest(row.class_name, label_of)}the set has {len(label_of)} classes"
            raise DatasetError(f"no class {row.class_name!r}", where=row.where, fix=fix)
        if path is None or not path.exists():
            raise DatasetError(f"no file for {row.name}", where=row.where, fix="download it, or take it off the list")
        files.append(LabeledFile(path, label_of[row.class_name]))
    return LabeledSet(tuple(class_names), tuple(files))


def _media_below(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DatasetError("no such folder", where=str(folder), fix=_UNPACK)
    known = VIDEO_SUFFIXES | IMAGE_SUFFIXES
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in known and path.name[0] != ".")


def _first_there(root: Path, names: Sequence[str], dataset: str) -> Path:
    for name in names:
        if (root / name).exists():
            return root / name
    raise DatasetError(f"not {dataset}: no {' or '.join(names)}", where=str(root), fix="give the folder that holds it")


def _lines(file: Path) -> Iterator[tuple[str, str]]:
    """(file and line, text) of each line that is not empty."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise DatasetError("no such list", where=str(file), fix=_UNPACK) from None
    except UnicodeDecodeError as fault:
        raise DatasetError("not a text file", where=str(file), fix=_UNPACK) from fault
    yield from ((f"{file}, line {number}", line.strip()) for number, line in enumerate(lines, 1) if line.strip())


def _fields(line: str, where: str, count: int) -> list[str]:
    fields = line.split()
    if len(fields) != count:
        raise DatasetError(f"{line!r} has not {count} words", where=where, fix=_UNPACK)
    return fields


def _records(file: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """(file and line, row by column) of a CSV that has at least `columns`."""
    lines = list(_lines(file))
    header = [cell.strip() for cell in next(csv.reader([lines[0][1]]))] if lines else []
    missing = [name for name in columns if name not in header]
    if missing:
        raise DatasetError(f"no column {', '.join(missing)}", where=str(file), fix=f"expected {', '.join(columns)}")
    for where, line in lines[1:]:
        cells = next(csv.reader([line]))
        if len(cells) != len(header):
            raise DatasetError(f"{len(cells)} cells under {len(header)} columns", where=where, fix=_UNPACK)
        yield where, {name: cell.strip() for name, cell in zip(header, cells, strict=True)}


def _number(text: str, where: str) -> int:
    try:
        return round(float(text))
    except ValueError as fault:
        raise DatasetError(f"{text!r} is not a number of seconds", where=where, fix=_UNPACK) from fault


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError) as fault:
        raise DatasetError("unreadable JSON", where=str(file), fix=_UNPACK) from fault


def _train_or_test(split: str) -> str:
    if split not in ("train", "test"):
        raise ConfigError(f"no split {split!r}", fix="it has train and test, in three folds")
    return split


def _fold(fold: int) -> int:
    if fold not in (1, 2, 3):
        raise ConfigError(f"no fold {fold}", where="--fold", fix="choose 1, 2 or 3")
    return fold
