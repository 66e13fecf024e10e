"""Keeps track of unreadable files, and stops the run if there are too many."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kinema.errors import DatasetError, counted
from kinema.ops.collectives import gather_objects, rank
from kinema.types import SkippedFile


class SkippedFiles:
    """The unreadable files of a run: each once, with its first reason and how often it was skipped.

    run_folder: where `skipped.jsonl` is written. num_files: number of files in the whole data set. max_share: largest
    share of them, in [0, 1], that may be unreadable before the run stops.
    """

    def __init__(self, run_folder: Path, *, num_files: int, max_share: float) -> None:
        self.path = run_folder / "skipped.jsonl"
        self._num_files = num_files
        self._max_share = max_share
        self._pending: list[tuple[str, str]] = []
        self._files: dict[str, tuple[str, int]] = {}

    def __len__(self) -> int:
        return len(self._files)

    def __str__(self) -> str:
        """Number of files, and the names of the first three."""
        first, others = list(self._files)[:3], max(len(self) - 3, 0)
        named = f": {', '.join(first)}" if first else ""
        more = f" and {others} more" if others else ""
        return f"{len(self)} of {counted(self._num_files, 'file')} unreadable{named}{more}"

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Path, reason and count of each file, as stored in `skipped.jsonl` and in checkpoints."""
        return [{"path": path, "reason": reason, "count": count} for path, (reason, count) in self._files.items()]

    def restore(self, rows: list[dict[str, Any]]) -> None:
        """Takes the counts from a checkpoint, so that repeated steps count once and repaired files not at all."""
        self._files = {row["path"]: (row["reason"], row["count"]) for row in rows}

    def add(self, skipped: Iterable[SkippedFile]) -> None:
        """Adds the files that this rank's loader skipped; they count after the next `settle`."""
        self._pending += [(file.path, file.reason) for file in skipped]

    def settle(self) -> None:
        """Counts the files that all ranks skipped since the last call; every rank must call it at the same step.

        Raises DatasetError on all ranks, after writing `skipped.jsonl`, if too large a share of files is unreadable.
        """
        for path, reason in (skip for of_rank in gather_objects(self._pending) for skip in of_rank):
            first_reason, count = self._files.get(path, (reason, 0))
            self._files[path] = (first_reason, count + 1)
        self._pending = []
        if len(self) > self._max_share * self._num_files:
            self.write()
            raise DatasetError(
                f"{self}, which is more than {self._max_share:.1%}",
                where=str(self.path),
                fix="repair or exclude the files listed there, or raise --data.max-unreadable-share",
            )

    def write(self) -> None:
        """Rewrites `skipped.jsonl` atomically on the first rank, or removes it if no file is unreadable."""
        if rank() > 0:
            return
        if not self._files:
            self.path.unlink(missing_ok=True)
            return
        partial = self.path.with_suffix(".tmp")
        partial.write_text("".join(json.dumps(row) + "\n" for row in self.rows))
        os.replace(partial, self.path)
