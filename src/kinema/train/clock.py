"""How fast a run is, and where its time goes."""

import os
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kinema.datasets.media import MediaDataset

STAGE = "stage_ms/"
"""Prefix, in the log, of what each stage of making a batch and computing on it takes."""
_KEEPS_UP = 0.1
"""Share of the time below which waiting is not worth a cure."""
_DOING = {"read": "reading", "decode": "decoding", "transform": "cropping and resizing", "collate": "joining clips"}
_STEADY_AFTER_STEPS = 1
_TOLD_AFTER_S = 40.0  # longer than full queues of batches hide that loading is slow


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How a run's time was spent over some steps."""

    clips_per_s: float
    """Over all ranks."""
    wait_share: float
    """Of the time, in [0, 1], in which the loop had no batch to compute on."""
    stage_ms: Mapping[str, float]
    """Milliseconds a clip takes in each stage: the loader's own in one worker, `compute` in the loop."""

    def as_values(self) -> dict[str, float]:
        """The pace as it is logged."""
        stages = {f"{STAGE}{stage}": took_ms for stage, took_ms in self.stage_ms.items()}
        return {"clips_per_s": self.clips_per_s, "wait_share": self.wait_share, **stages}


class StepClock:
    """The pace since the last reading, and since the run got going."""

    def __init__(self) -> None:
        self._steps = 0
        self._recent, self._steady = _Totals(), _Totals()
        self._is_told = False

    def add(
        self, *, waited_s: float, worked_s: float, clips: int, own_clips: int, stages_s: Mapping[str, float]
    ) -> None:
        """Counts one step: seconds without a batch and with one, clips over all ranks and of this one, whose batch took
        `stages_s` of a loader worker's time."""
        self._steps += 1
        spent_s = {**stages_s, "compute": worked_s, "wait": waited_s}
        self._recent.add(spent_s, clips, own_clips)
        if self._steps > _STEADY_AFTER_STEPS:  # the first one also starts the workers and sets up kernels
            self._steady.add(spent_s, clips, own_clips)

    def read(self) -> Pace:
        """The pace since the last reading."""
        pace = self._recent.pace()
        self._recent = _Totals()
        return pace

    def first_pace(self, *, last: bool) -> Pace | None:
        """The pace since the run got going: given once, when it can be told, or after the last step."""
        is_due = self._steady.total_s > _TOLD_AFTER_S or (last and self._steady.total_s > 0)
        if self._is_told or not is_due:
            return None
        self._is_told = True
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


def waiting_sentence(dataset: MediaDataset) -> Callable[[Pace], str]:
    """What to say about the pace of a run on `dataset`."""
    num_workers = dataset.data.num_workers
    can_pack = any(item.kind in ("video", "tar") for item in dataset.items)
    free_cores = _num_cores() - num_workers - 1  # one computes

    def sentence(pace: Pace) -> str:
        share = f"{pace.wait_share:.0%} of the time is spent waiting for data"
        if pace.wait_share < _KEEPS_UP:
            return f"{share}: loading keeps up"
        stages = {stage: took_ms for stage, took_ms in pace.stage_ms.items() if stage in _DOING}
        longest = max(stages, key=stages.__getitem__)
        cures = _cures(longest, can_pack=can_pack, num_workers=num_workers, free_cores=free_cores)
        where = f"in each of {num_workers} workers" if num_workers > 1 else "in one process"
        doing = f"most of it {_DOING[longest]} ({stages[longest]:.3g} of {sum(stages.values()):.3g} ms a clip {where})"
        return f"{share}, {doing}: {' or '.join(cures)} would cure it"

    return sentence


def _cures(stage: str, *, can_pack: bool, num_workers: int, free_cores: int) -> list[str]:
    cures = []
    if can_pack and stage in ("read", "decode"):
        cures.append("`kinema pack`")
    if num_workers == 0:
        cures.append("--data.num-workers 2")
    elif free_cores > 0:
        cures.append(f"more --data.num-workers ({free_cores} cores are free)")
    if not cures and stage in ("read", "decode"):
        cures.append("a higher --data.repeats")
    if not cures and stage == "transform":
        cures.append("--data.transform.interpolation bilinear")
    return cures or ["more processor cores"]


def _num_cores() -> int:
    """Of this process and its workers; torchrun says how many share the machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
