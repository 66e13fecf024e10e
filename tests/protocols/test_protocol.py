"""Whether numbers may be compared, and protocols read back from a result."""

import json
from dataclasses import asdict, replace

import pytest

from kinema.errors import ProtocolError
from kinema.protocols.registry import NOT_STATED, JointSettings, comparable, protocol_from, protocol_named

DINO = protocol_named("dino_480p")


def test_the_same_values_are_comparable() -> None:
    assert comparable(DINO, DINO) is None
    told_apart = replace(DINO, name="mine", version=7, source="elsewhere", extension="none")
    assert comparable(DINO, told_apart) is None
    assert comparable(DINO, replace(DINO, propagation=replace(DINO.propagation, tile=4))) is None
    bf16, fp32, half = (
        replace(DINO, propagation=replace(DINO.propagation, precision=precision))
        for precision in ("bf16", "fp32", "half")
    )
    assert comparable(bf16, fp32) is None
    assert "propagation.precision fp32 or half" in (comparable(fp32, half) or "")  # the one that changes labels
    assert comparable(DINO, replace(DINO, joints=JointSettings(top_cells=1))) is None  # masks have no joints


def test_other_values_are_not() -> None:
    other = replace(DINO, propagation=replace(DINO.propagation, top_k=7))  # of the same name
    assert comparable(DINO, other) == ("different protocols: dino_480p against dino_480p (propagation.top_k 5 or 7)")
    assert "features.size.fixed None or (480, 880)" in (comparable(DINO, protocol_named("siammae")) or "")
    assert "and " in (comparable(DINO, protocol_named("siammae")) or "")
    joints = protocol_named("crw", "jhmdb"), protocol_named("siammae", "jhmdb")
    assert "joints.top_cells 3 or 5" in (comparable(joints[0], replace(joints[0], joints=joints[1].joints)) or "")
    assert comparable(protocol_named("dul"), protocol_named("dul", "ytvos")) is not None


def test_published_numbers_are_compared_by_name() -> None:
    assert comparable(DINO, "dino_480p") is None
    assert comparable("crw", DINO) == "different protocols: crw; dino_480p"
    assert comparable(replace(DINO, name="dino_480p features.layer=3"), "dino_480p") is not None
    assert "not stated" in (comparable(DINO, NOT_STATED) or "")
    assert comparable(NOT_STATED, NOT_STATED) is not None


def test_a_result_of_an_earlier_version_takes_the_defaults() -> None:
    values = json.loads(json.dumps(asdict(DINO)))
    for added in ("upsample_to", "joints", "scoring_size"):
        del values[added]
    del values["features"]["tubelet"]
    assert protocol_from(values) == DINO


@pytest.mark.parametrize("values", [{}, {"name": "x"}, {**asdict(DINO), "color": 1}, {**asdict(DINO), "features": 3}])
def test_values_that_are_no_protocol(values: dict) -> None:
    with pytest.raises(ProtocolError, match="these values are no protocol"):
        protocol_from(values)
