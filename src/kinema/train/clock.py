"""Measures the speed of a run and where its time goes."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

STAGE = "stage_ms/"
"""Prefix in the log of the time of each stage of loading a batch and computing on it."""
_STEADY_AFTER_STEPS = 1
_REPORT_AFTER_S = 40.0  # full queues of loaded batches hide slow loading for a while


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How the time of some steps was spent."""

    clips_per_s: float
    """Summed over all ranks."""
    wait_share: float
    """Share of the time, in [0, 1], that the loop waited for a batch."""
    stage_ms: Mapping[str, float]
    """Milliseconds per clip in each stage: loading stages in one worker, `compute` in the loop."""

    def as_values(self) -> dict[str, float]:
        """Returns the pace under the names used in the log."""
        stages = {f"{STAGE}{stage}": took_ms for stage, took_ms in self.stage_ms.items()}
        return {"clips_per_s": self.clips_per_s, "wait_share": self.wait_share, **stages}


class StepClock:
    """Measures the pace since the last reading and since the first step."""

    def __init__(self) -> None:
        self._steps = 0
        self._recent, self._steady = _Totals(), _Totals()
        self._is_reported = False

    def add(
        self, *, waited_s: float, worked_s: float, clips: int, own_clips: int, stages_s: Mapping[str, float]
    ) -> None:
        """Adds one step.

        waited_s, worked_s: seconds without and with a batch. clips, own_clips: clips of all ranks and of this rank.
        stages_s: seconds that a loader worker spent on the batch, by stage."""
        self._steps += 1
        spent_s = {**stages_s, "compute": worked_s, "wait": waited_s}
        self._recent.add(spent_s, clips, own_clips)
        if self._steps > _STEADY_AFTER_STEPS:  # the first step also starts the workers and sets up kernels
            self._steady.add(spent_s, clips, own_clips)

    def read(self) -> Pace:
        """Returns the pace since the last reading."""
        pace = self._recent.pace()
        self._recent = _Totals()
        return pace

    def first_pace(self, *, last: bool) -> Pace | None:
        """Returns the pace since the first step once, as soon as it is meaningful or after the last step; else None."""
        is_due = self._steady.total_s > _REPORT_AFTER_S or (last and self._steady.total_s > 0)
        if self._is_reported or not is_due:
            return None
        self._is_reported = True
        return self._steady.pace()


class _Totals:
    def __init__(self) -> None:
        self._spent_s: defaultdict[str, float] = defaultdict(float)
        self._clips = self._own_clips = 0

    def add(self, spent_s: Mapping[str, float], clips: int, own_clips: int) -> None:
        for stage, took_s in spent_s.items():
            self._spent_s[stage] += took_s
        self._clips += clips
        self._own_clips += own_clips

    @property
    def total_s(self) -> float:
        return self._spent_s["compute"] + self._spent_s["wait"]

    def pace(self) -> Pace:
        stages = {stage: 1000 * took_s / self._own_clips for stage, took_s in self._spent_s.items() if stage != "wait"}
        return Pace(
            clips_per_s=self._clips / self.total_s,
            wait_share=self._spent_s["wait"] / self.total_s,
            stage_ms=stages,
        )
