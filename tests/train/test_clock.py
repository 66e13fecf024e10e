import pytest

from kinema.train.clock import StepClock


def _step(clock: StepClock, *, waited_s: float = 0.0, worked_s: float = 2.0) -> None:
    stages_s = {"read": 0.5, "decode": 1.5}
    clock.add(waited_s=waited_s, worked_s=worked_s, clips=8, own_clips=4, stages_s=stages_s)


def test_the_clock_reads_speed_waiting_and_stages_since_the_last_reading() -> None:
    clock = StepClock()
    _step(clock, waited_s=1.0, worked_s=2.0)
    _step(clock, waited_s=0.0, worked_s=1.0)
    stages = {"stage_ms/read": 125.0, "stage_ms/decode": 375.0, "stage_ms/compute": 375.0}
    assert clock.read().as_values() == {"clips_per_s": 4.0, "wait_share": 0.25, **stages}
    _step(clock)
    assert clock.read().as_values() == {
        "clips_per_s": 4.0,
        "wait_share": 0.0,
        **stages,
        "stage_ms/compute": 500.0,
    }


def test_the_first_pace_is_told_once_within_the_first_minute_and_leaves_out_the_first_step() -> None:
    clock = StepClock()
    _step(clock, waited_s=100.0)
    told = []
    for step in range(60):
        _step(clock, waited_s=1.0, worked_s=1.0)
        if pace := clock.first_pace(last=False):
            told.append((step, pace))
    (step, pace) = told[0]
    assert len(told) == 1
    assert step < 30
    assert pace.wait_share == pytest.approx(0.5)
    assert clock.first_pace(last=True) is None


def test_a_short_run_tells_its_pace_at_the_end() -> None:
    clock = StepClock()
    _step(clock)
    assert clock.first_pace(last=True) is None  # nothing but the start is known
    _step(clock)
    assert clock.first_pace(last=False) is None
    assert clock.first_pace(last=True) is not None
