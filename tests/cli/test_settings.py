"""What the options of features and propagation start from."""

import pytest

from kinema.cli.option_groups import resolve_protocol_settings
from kinema.errors import ProtocolError
from kinema.protocols.protocol import apply_overrides
from kinema.protocols.registry import get_protocol


def test_options_start_from_the_protocol_for_the_data_set() -> None:
    assert resolve_protocol_settings([])["features"] == get_protocol("dino_480p").features
    assert resolve_protocol_settings(["--protocol", "siammae"])["propagation"].radius == 20
    vip = resolve_protocol_settings(["--protocol=siammae"], "vip")
    assert (vip["propagation"].radius, vip["features"].size.long_side) == (8, 880)
    with pytest.raises(ProtocolError, match="did you mean 'siammae'"):
        resolve_protocol_settings(["--protocol", "siamae"])


@pytest.mark.parametrize(
    ("typed", "rule"),
    [("short-side", "short_side"), ("long-side", "long_side"), ("fixed", "fixed"), ("native", "native")],
)
def test_a_typed_rule_replaces_the_protocol_s_and_keeps_its_rounding(typed: str, rule: str) -> None:
    size = resolve_protocol_settings([f"--features.size.{typed}", "80"])["features"].size
    assert size.multiple == 64
    set_ones = {name for name in ("short_side", "long_side", "fixed", "native") if getattr(size, name)}
    assert set_ones == {rule}


@pytest.mark.parametrize("nothing", ["None", "False"])
def test_a_rule_that_is_typed_away_replaces_nothing(nothing: str) -> None:
    size = resolve_protocol_settings(["--features.size.native", nothing])["features"].size
    assert size == get_protocol("dino_480p").features.size


def test_a_change_is_in_the_name() -> None:
    dino, crw = get_protocol("dino_480p"), get_protocol("crw")
    assert apply_overrides(dino, dino.features, dino.propagation) == dino
    other = apply_overrides(dino, dino.features, crw.propagation)
    assert "propagation.top_k=10" in other.name
    assert other.propagation == crw.propagation
