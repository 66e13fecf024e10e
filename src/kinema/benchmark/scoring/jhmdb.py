"""The JHMDB score, PCK@0.1 to 0.5, and the files that predicted joints are kept in."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Float64

from kinema.benchmark.scoring.base import Scores, Scoring
from kinema.datasets.jhmdb import JOINTS, JhmdbSequence
from kinema.errors import DatasetError
from kinema.files import replacing
from kinema.metrics.keypoints import joint_distances, mean_pck

HEADER = ("frame", "name", "x", "y", "confidence")
_FORM = f"expected the columns {','.join(HEADER)}, and {len(JOINTS)} joints of every frame in the data set's order"


@dataclass(frozen=True)
class JhmdbScoring(Scoring[JhmdbSequence, Float64[np.ndarray, "_ 15"]]):
    """PCK of `results/<clip>.csv`, or of one `.npz` of all clips: the array `<action>/<clip>`, (2, 15, T)."""

    headline: ClassVar[str] = "PCK@0.1"

    def files(self, item: JhmdbSequence, results: Path) -> list[Path]:
        """The one of the clip, or the one of all."""
        return [results if results.suffix == ".npz" else results / csv_name(item)]

    def measure(self, item: JhmdbSequence, results: Path) -> Float64[np.ndarray, "_ 15"]:
        """The distances of the clip's joints."""
        (file,) = self.files(item, results)
        predicted = _of_arrays(file, item.name) if file.suffix == ".npz" else read_joints(file)
        if predicted.shape != item.points.shape:
            what = f"joints of {len(predicted)} frames, the truth has {len(item.points)}"
            raise DatasetError(what, where=str(file), fix="predict every frame that has true joints")
        return joint_distances(item.points, predicted)

    def summarize(self, items: Sequence[JhmdbSequence], measured: Sequence[Float64[np.ndarray, "_ 15"]]) -> Scores:
        """PCK@0.1 to PCK@0.5; a row a clip (None where none of its joints was found)."""
        rows = [
            {"sequence": item.name, **{key: None if math.isnan(value) else value for key, value in shares.items()}}
            for item, shares in zip(items, (mean_pck([distances]) for distances in measured), strict=True)
        ]
        summary = mean_pck(measured)
        if math.isnan(summary[self.headline]):
            raise DatasetError(
                "no joint was found in any frame", where="predictions", fix="a negative x, or nan, means not found"
            )
        return Scores(summary, rows, {row["sequence"]: row[self.headline] or 0.0 for row in rows})


def csv_name(item: JhmdbSequence) -> str:
    """The file that a clip's joints are written to."""
    return f"{item.name.rsplit('/', 1)[-1]}.csv"


def write_joints(file: Path, points: Float[np.ndarray, "T 15 2"], confidence: Float[np.ndarray, "T 15"]) -> None:
    """Writes joints as CSV, a line a joint and frame; x and y in pixels counted from 0, nan where it was not found."""
    with replacing(file) as beside, beside.open("w", newline="") as stream:
        lines = csv.writer(stream, lineterminator="\n")
        lines.writerow(HEADER)
        for frame, (of_frame, certainty) in enumerate(zip(points.tolist(), confidence.tolist(), strict=True)):
            lines.writerows(
                (frame, name, *point, known) for name, point, known in zip(JOINTS, of_frame, certainty, strict=True)
            )


def read_joints(file: Path) -> Float64[np.ndarray, "T 15 2"]:
    """The joints that `write_joints` wrote; DatasetError where the file has another form."""
    try:
        with file.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        expected = [(str(index // len(JOINTS)), JOINTS[index % len(JOINTS)]) for index in range(len(rows))]
        if not rows or len(rows) % len(JOINTS) or [(row["frame"], row["name"]) for row in rows] != expected:
            raise DatasetError("not the joints of JHMDB", where=str(file), fix=_FORM)
        points = np.array([(float(row["x"]), float(row["y"])) for row in rows])
    except (KeyError, TypeError, ValueError, OSError, csv.Error) as error:
        raise DatasetError("not readable as joints", where=str(file), fix=_FORM) from error
    return points.reshape(-1, len(JOINTS), 2)


def _of_arrays(file: Path, name: str) -> Float64[np.ndarray, "T 15 2"]:
    fix = f"expected arrays (2, {len(JOINTS)}, T) named <action>/<clip>, x and y in pixels counted from 0"
    try:
        with np.load(file, allow_pickle=False) as arrays:
            points = np.asarray(arrays[name], np.float64)
    except (OSError, ValueError, KeyError, EOFError) as error:  # a zip without the clip, or no zip
        raise DatasetError(f"no joints of {name}", where=str(file), fix=fix) from error
    if points.ndim != 3 or points.shape[:2] != (2, len(JOINTS)):
        raise DatasetError(f"joints of shape {points.shape}", where=f"{file}, {name}", fix=fix)
    return points.transpose(2, 1, 0)
