from pathlib import Path

import pytest

from kinema.datasets.data_config import DataConfig
from kinema.datasets.media import MediaDataset
from kinema.datasets.scan import MediaItem
from kinema.runs import waiting
from kinema.runs.waiting import describe_waiting
from kinema.train.clock import Pace
from kinema.types import ClipSpec


def said(
    *, wait_share: float = 0.41, kind: str = "video", num_workers: int = 2, cores: int = 8, **stage_ms: float
) -> str:
    data = DataConfig(num_workers=num_workers)
    items = [MediaItem(path=Path("a"), kind=kind)]
    dataset = MediaDataset(items, data=data, clip=ClipSpec(num_frames=2, height=16, width=16), seed=0)
    stages = {"read": 1.0, "decode": 8.0, "transform": 2.0, "collate": 0.1, "compute": 20.0, **stage_ms}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(waiting, "_count_cores", lambda: cores)
        return describe_waiting(dataset)(Pace(clips_per_s=10.0, wait_share=wait_share, stage_ms=stages))


def test_a_loop_that_waits_is_told_why_and_what_would_cure_it() -> None:
    assert said() == (
        "41% of the time is spent waiting for data, most of it decoding (8 of 11.1 ms a clip in each of 2 workers): "
        "`kinema pack` or more --data.num-workers (5 cores are free) would cure it"
    )


def test_a_loop_that_does_not_wait_is_told_so() -> None:
    assert said(wait_share=0.03) == "3% of the time is spent waiting for data: loading keeps up"


def test_only_what_can_help_is_advised() -> None:
    assert said(cores=2).endswith(": `kinema pack` would cure it")
    assert said(cores=2, kind="packed").endswith(": a higher --data.repeats would cure it")
    assert "kinema pack" not in said(transform=30.0)
    assert said(cores=2, transform=30.0).endswith(": --data.transform.interpolation bilinear would cure it")
    assert "in one process): `kinema pack` or --data.num-workers 2" in said(num_workers=0)
