"""Protocols are comparable if their values are equal, and can be read back from a result."""

import json
from dataclasses import asdict, replace

import pytest

from kinema.errors import ProtocolError
from kinema.protocols.registry import NOT_STATED, JointSettings, describe_mismatch, get_protocol, parse_protocol

DINO = get_protocol("dino_480p")


def test_protocols_with_equal_values_match() -> None:
    assert describe_mismatch(DINO, DINO) is None
    renamed = replace(DINO, name="mine", version=7, source="elsewhere", extension="none")
    assert describe_mismatch(DINO, renamed) is None
    assert describe_mismatch(DINO, replace(DINO, propagation=replace(DINO.propagation, tile=4))) is None
    bf16, fp32, half = (
        replace(DINO, propagation=replace(DINO.propagation, precision=precision))
        for precision in ("bf16", "fp32", "half")
    )
    assert describe_mismatch(bf16, fp32) is None
    assert "propagation.precision fp32 or half" in (
        describe_mismatch(fp32, half) or ""
    )  # half is the only precision that changes labels
    assert describe_mismatch(DINO, replace(DINO, joints=JointSettings(top_cells=1))) is None  # masks have no joints


def test_protocols_with_other_values_do_not_match() -> None:
    other = replace(DINO, propagation=replace(DINO.propagation, top_k=7))  # the name is the same
    assert describe_mismatch(DINO, other) == (
        "different protocols: dino_480p against dino_480p (propagation.top_k 5 or 7)"
    )
    assert "features.size.fixed None or (480, 880)" in (describe_mismatch(DINO, get_protocol("siammae")) or "")
    assert "and " in (describe_mismatch(DINO, get_protocol("siammae")) or "")
    joints = get_protocol("crw", "jhmdb"), get_protocol("siammae", "jhmdb")
    assert "joints.top_cells 3 or 5" in (
        describe_mismatch(joints[0], replace(joints[0], joints=joints[1].joints)) or ""
    )
    assert describe_mismatch(get_protocol("dul"), get_protocol("dul", "ytvos")) is not None


def test_published_numbers_match_by_name() -> None:
    assert describe_mismatch(DINO, "dino_480p") is None
    assert describe_mismatch("crw", DINO) == "different protocols: crw; dino_480p"
    assert describe_mismatch(replace(DINO, name="dino_480p features.layer=3"), "dino_480p") is not None
    assert "not stated" in (describe_mismatch(DINO, NOT_STATED) or "")
    assert describe_mismatch(NOT_STATED, NOT_STATED) is not None


def test_fields_that_an_earlier_version_lacks_take_their_defaults() -> None:
    values = json.loads(json.dumps(asdict(DINO)))
    for added in ("upsample_to", "joints", "scoring_size"):
        del values[added]
    del values["features"]["tubelet"]
    assert parse_protocol(values) == DINO


@pytest.mark.parametrize("values", [{}, {"name": "x"}, {**asdict(DINO), "color": 1}, {**asdict(DINO), "features": 3}])
def test_rejects_values_that_are_no_protocol(values: dict) -> None:
    with pytest.raises(ProtocolError, match="these values are no protocol"):
        parse_protocol(values)
