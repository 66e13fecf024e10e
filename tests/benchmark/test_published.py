from typing import get_args

import pytest

from kinema.benchmark.published import published_rows
from kinema.protocols.registry import NOT_STATED, PROTOCOLS, Benchmark

TABLE_1 = 13
METRICS: dict[Benchmark, set[str]] = {
    "davis": {"J&F-Mean", "J-Mean", "F-Mean"},
    "ytvos": {"J&F-Mean"},
    "vip": {"mIoU"},
    "jhmdb": {"PCK@0.1", "PCK@0.2"},
}


@pytest.mark.parametrize("benchmark", get_args(Benchmark))
def test_every_row_says_where_it_is_from(benchmark: Benchmark) -> None:
    rows = published_rows(benchmark)
    assert {row.metric for row in rows} == METRICS[benchmark]
    assert all(row.benchmark == benchmark and 10 < row.value < 90 and row.source for row in rows)
    assert {row.protocol for row in rows} <= {*PROTOCOLS, NOT_STATED}
    told_apart = {(row.method, row.backbone, row.data, row.metric, row.protocol, row.source) for row in rows}
    assert len(told_apart) == len(rows)


def test_table_1_of_siammae_is_whole() -> None:
    for benchmark, metrics in METRICS.items():
        rows = [row for row in published_rows(benchmark) if row.source.startswith("SiamMAE (")]
        assert len(rows) == TABLE_1 * len(metrics) * (benchmark != "ytvos")
    davis = [row for row in published_rows("davis") if row.source.startswith("SiamMAE (")]
    last = {row.metric: row.value for row in davis[-3:]}
    assert (davis[-1].method, davis[-1].backbone) == ("SiamMAE", "ViT-S/8")
    assert last == {"J&F-Mean": 71.4, "J-Mean": 68.4, "F-Mean": 74.5}
    for jaccard, boundary, both in zip(davis[1::3], davis[2::3], davis[::3], strict=True):
        assert abs((jaccard.value + boundary.value) / 2 - both.value) < 0.11, both.method


def test_the_records() -> None:
    best = {benchmark: max(published_rows(benchmark), key=lambda row: row.value) for benchmark in get_args(Benchmark)}
    assert (best["davis"].method, best["davis"].value, best["davis"].protocol) == ("DINOv3", 83.3, "dinov3_l")
    assert (best["vip"].method, best["vip"].value) == ("TimeBridge", 47.5)
