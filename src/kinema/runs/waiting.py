"""Says in one sentence whether a run waits for its data, and what would help."""

import os
from collections.abc import Callable

from kinema.datasets.media import MediaDataset
from kinema.train.clock import Pace

_KEEPS_UP = 0.1
"""Share of the time below which waiting for data needs no advice."""
_ACTIVITIES = {
    "read": "reading",
    "decode": "decoding",
    "transform": "cropping and resizing",
    "collate": "joining clips",
}


def describe_waiting(dataset: MediaDataset) -> Callable[[Pace], str]:
    """Returns a function that says in one sentence whether a run on `dataset` waits for data, and what would help."""
    num_workers = dataset.data.num_workers
    can_pack = any(item.kind in ("video", "tar") for item in dataset.items)
    free_cores = _count_cores() - num_workers - 1  # the training process needs one core

    def sentence(pace: Pace) -> str:
        share = f"{pace.wait_share:.0%} of the time is spent waiting for data"
        if pace.wait_share < _KEEPS_UP:
            return f"{share}: loading keeps up"
        stages = {stage: took_ms for stage, took_ms in pace.stage_ms.items() if stage in _ACTIVITIES}
        longest = max(stages, key=stages.__getitem__)
        cures = _find_cures(longest, can_pack=can_pack, num_workers=num_workers, free_cores=free_cores)
        where = f"in each of {num_workers} workers" if num_workers > 1 else "in one process"
        cost = f"{stages[longest]:.3g} of {sum(stages.values()):.3g} ms a clip {where}"
        activity = f"most of it {_ACTIVITIES[longest]} ({cost})"
        return f"{share}, {activity}: {' or '.join(cures)} would cure it"

    return sentence


def _find_cures(stage: str, *, can_pack: bool, num_workers: int, free_cores: int) -> list[str]:
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


def _count_cores() -> int:
    """Cores of this process and its workers: an equal share if torchrun started several processes on this machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
