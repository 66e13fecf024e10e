import json
import subprocess
import sys
from dataclasses import asdict

import pytest

from kinema.errors import ProtocolError
from kinema.propagation.protocols import PROTOCOLS, protocol_named


def test_every_protocol_is_found_by_its_name_and_is_json() -> None:
    for name in PROTOCOLS:
        found = protocol_named(name)
        assert found.name == name
        again = json.loads(json.dumps(asdict(found), allow_nan=False))
        assert again["propagation"]["top_k"] == found.propagation.top_k
        assert again["features"]["std"] == list(found.features.std)


def test_dino_480p_is_as_published() -> None:
    dino = protocol_named("dino_480p")
    assert dino.features.size.of(480, 854) == (480, 832)
    assert dino.features.size.of(480, 1152) == (480, 1152)
    assert dino.features.std == (0.228, 0.224, 0.225)
    settings = dino.propagation
    assert (settings.context, settings.radius, settings.top_k, settings.temperature) == (7, 12, 5, 0.1)
    assert (settings.padding, settings.window, settings.window_covers_first) == ("none", "square", True)
    assert (dino.first_labels, dino.keep_small, dino.min_max) == ("nearest", False, True)


def test_crw_is_as_its_readme() -> None:
    crw = protocol_named("crw")
    assert crw.features.std == (0.229, 0.224, 0.225)
    settings = crw.propagation
    assert (settings.context, settings.radius, settings.top_k, settings.temperature) == (20, 12, 10, 0.05)
    assert (settings.padding, settings.window, settings.window_covers_first) == ("first_frame", "disc", False)
    assert (crw.first_labels, crw.min_max) == ("bilinear", False)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ProtocolError, match="did you mean 'dino_480p'"):
        protocol_named("dino480p")
    with pytest.raises(ProtocolError, match="known are dino_480p, crw"):
        protocol_named("zzz")


def test_needs_no_torch() -> None:
    program = "import sys, kinema.propagation.protocols; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
