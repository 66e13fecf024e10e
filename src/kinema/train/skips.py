"""Which files could not be read, and when there are too many of them to go on."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kinema.errors import DatasetError, counted
from kinema.ops.collectives import gather_objects, rank
from kinema.types import SkippedFile


class SkippedFiles:
    """Every unreadable file of a run once, with the first reason and how often it was met.

    run_folder: where `skipped.jsonl` is written. num_files: files of the whole data set. max_share: share of them, in
    [0, 1], that may be unreadable before the run stops.
    """

    def __init__(self, run_folder: Path, *, num_files: int, max_share: float) -> None:
        self.path = run_folder / "skipped.jsonl"
        self._num_files = num_files
        self._max_share = max_share
        self._met: list[tuple[str, str]] = []
        self._files: dict[str, tuple[str, int]] = {}

    def __len__(self) -> int:
        return len(self._files)

    def __str__(self) -> str:
        """How many files there are, and the first of them by name."""
        first, others = list(self._files)[:3], max(len(self) - 3, 0)
        named = f": {', '.join(first)}" if first else ""
        more = f" and {others} more" if others else ""
        return f"{len(self)} of {counted(self._num_files, 'file')} unreadable{named}{more}"

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Path, reason and count of each file, as `skipped.jsonl` and checkpoints hold them."""
        return [{"path": path, "reason": reason, "count": count} for path, (reason, count) in self._files.items()]

    def restore(self, rows: list[dict[str, Any]]) -> None:
        """Goes on from what a checkpoint holds, so that steps done again count once and repaired files no more."""
        self._files = {row["path"]: (row["reason"], row["count"]) for row in rows}

    def add(self, skipped: Iterable[SkippedFile]) -> None:
        """Notes what this rank's loader skipped; `settle` counts it."""
        self._met += [(file.path, file.reason) for file in skipped]

    def settle(self) -> None:
        """Counts what all ranks have met since the last time; every rank must call it at the same step.

        Raises DatasetError on all ranks, with `skipped.jsonl` written, where too large a share of files is unreadable.
        """
        for path, reason in (met for of_rank in gather_objects(self._met) for met in of_rank):
            first_reason, count = self._files.get(path, (reason, 0))
            self._files[path] = (first_reason, count + 1)
        self._met = []
        if len(self) > self._max_share * self._num_files:
            self.write()
            raise DatasetError(
                f"{self}, which is more than {self._max_share:.1%}",
                where=str(self.path),
                fix="repair or exclude the files listed there, or raise --data.max-unreadable-share",
            )

    def write(self) -> None:
        """Rewrites `skipped.jsonl` on the first rank, whole or not at all; without unreadable files it is removed."""
        if rank() > 0:
            return
        if not self._files:
            self.path.unlink(missing_ok=True)
            return
        beside = self.path.with_suffix(".tmp")
        beside.write_text("".join(json.dumps(row) + "\n" for row in self.rows))
        os.replace(beside, self.path)
