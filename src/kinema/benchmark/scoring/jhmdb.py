"""The JHMDB score, PCK@0.1 to PCK@0.5, and the files in which predicted joints are stored."""

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
_CSV_FORM = f"expected the columns {','.join(HEADER)}, and all {len(JOINTS)} joints of every frame in order"
_ARRAY_FORM = f"expected arrays (2, {len(JOINTS)}, T) named <action>/<clip>, x and y in pixels counted from 0"


@dataclass(frozen=True)
class JhmdbScoring(Scoring[JhmdbSequence, Float64[np.ndarray, "_ 15"]]):
    """PCK of `results/<clip>.csv`, or of one `.npz` with an array (2, 15, T) named `<action>/<clip>` for each clip."""

    headline: ClassVar[str] = "PCK@0.1"

    def files(self, item: JhmdbSequence, results: Path) -> list[Path]:
        """Returns the clip's CSV file, or the archive of all clips."""
        return [results if results.suffix == ".npz" else results / get_csv_name(item)]

    def measure(self, item: JhmdbSequence, results: Path) -> Float64[np.ndarray, "_ 15"]:
        """Returns the distance of every joint of every scored frame."""
        (file,) = self.files(item, results)
        predicted = _read_array(file, item.name) if file.suffix == ".npz" else read_joints(file)
        if predicted.shape != item.points.shape:
            what = f"joints of {len(predicted)} frames, but true joints of {len(item.points)}"
            raise DatasetError(what, where=str(file), fix="predict every frame that has true joints")
        return joint_distances(item.points, predicted)

    def summarize(self, items: Sequence[JhmdbSequence], measured: Sequence[Float64[np.ndarray, "_ 15"]]) -> Scores:
        """Returns PCK@0.1 to PCK@0.5, and a row for each clip (None if none of its joints were found)."""
        rows = [
            {"sequence": item.name, **{key: None if math.isnan(value) else value for key, value in shares.items()}}
            for item, shares in zip(items, (mean_pck([distances]) for distances in measured), strict=True)
        ]
        summary = mean_pck(measured)
        if math.isnan(summary[self.headline]):
            fix = "a negative x, or nan, means that a joint was not found"
            raise DatasetError("no joint was found in any frame", where="predictions", fix=fix)
        return Scores(summary, rows, {row["sequence"]: row[self.headline] or 0.0 for row in rows})


def get_csv_name(item: JhmdbSequence) -> str:
    """Returns the name of the file that holds a clip's predicted joints."""
    return f"{item.name.rsplit('/', 1)[-1]}.csv"


def write_joints(file: Path, points: Float[np.ndarray, "T 15 2"], confidence: Float[np.ndarray, "T 15"]) -> None:
    """Writes joints as CSV, a line for each frame and joint.

    x and y are in pixels counted from 0, and nan if the joint was not found.
    """
    with replacing(file) as temporary, temporary.open("w", newline="") as stream:
        lines = csv.writer(stream, lineterminator="\n")
        lines.writerow(HEADER)
        for frame, (frame_points, frame_confidence) in enumerate(
            zip(points.tolist(), confidence.tolist(), strict=True)
        ):
            for name, point, value in zip(JOINTS, frame_points, frame_confidence, strict=True):
                lines.writerow((frame, name, *point, value))


def read_joints(file: Path) -> Float64[np.ndarray, "T 15 2"]:
    """Reads the joints that `write_joints` wrote. Raises DatasetError if the file has another form."""
    try:
        with file.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        expected = [(str(index // len(JOINTS)), JOINTS[index % len(JOINTS)]) for index in range(len(rows))]
        if not rows or len(rows) % len(JOINTS) or [(row["frame"], row["name"]) for row in rows] != expected:
            raise DatasetError("not the joints of JHMDB", where=str(file), fix=_CSV_FORM)
        points = np.array([(float(row["x"]), float(row["y"])) for row in rows])
    except (KeyError, TypeError, ValueError, OSError, csv.Error) as error:
        raise DatasetError("not readable as joints", where=str(file), fix=_CSV_FORM) from error
    return points.reshape(-1, len(JOINTS), 2)


def _read_array(file: Path, name: str) -> Float64[np.ndarray, "T 15 2"]:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            points = np.asarray(arrays[name], np.float64)
    except (OSError, ValueError, KeyError, EOFError) as error:  # not a zip, or a zip without this clip
        raise DatasetError(f"no joints of {name}", where=str(file), fix=_ARRAY_FORM) from error
    if points.ndim != 3 or points.shape[:2] != (2, len(JOINTS)):
        raise DatasetError(f"joints of shape {points.shape}", where=f"{file}, {name}", fix=_ARRAY_FORM)
    return points.transpose(2, 1, 0)
