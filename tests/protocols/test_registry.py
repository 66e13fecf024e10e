"""The registered protocols have the published values, and the document shows them."""

import json
import subprocess
import sys
from dataclasses import asdict
from typing import get_args

import pytest

from kinema.errors import ProtocolError
from kinema.protocols.registry import PROTOCOLS, Benchmark, Protocol, get_protocol, parse_protocol
from tests.protocols import protocol_tables

BENCHMARKS = get_args(Benchmark)
PAIRS = [(name, benchmark) for name in PROTOCOLS for benchmark in BENCHMARKS]


def _settings(protocol: Protocol) -> tuple[float, ...]:
    settings = protocol.propagation
    return settings.context, settings.radius, settings.top_k, settings.temperature


@pytest.mark.parametrize(("name", "benchmark"), PAIRS)
def test_every_protocol_exists_for_every_data_set_and_survives_json(name: str, benchmark: str) -> None:
    protocol = get_protocol(name, benchmark)
    assert (protocol.name, protocol.benchmark) == (name, benchmark)
    assert parse_protocol(json.loads(json.dumps(asdict(protocol), allow_nan=False))) == protocol
    assert protocol.source.endswith(".")
    assert not protocol.extension.endswith(".")


def test_published_protocols_have_no_extension() -> None:
    published = {(name, benchmark) for name, benchmark in PAIRS if not get_protocol(name, benchmark).extension}
    davis = {(name, "davis") for name in PROTOCOLS if name != "ino_ytvos"}
    tracked = {(name, benchmark) for name in ("siammae", "cropmae_480x880") for benchmark in ("vip", "jhmdb")}
    assert published == davis | tracked | {("ino_ytvos", "ytvos"), ("dul", "ytvos")}


def test_dino_480p_has_the_published_values() -> None:
    dino = get_protocol("dino_480p")
    assert dino.features.size.of(480, 854) == (480, 832)
    assert dino.features.size.of(480, 1152) == (480, 1152)
    assert dino.features.std == (0.228, 0.224, 0.225)
    settings = dino.propagation
    assert (settings.context, settings.radius, settings.top_k, settings.temperature) == (7, 12, 5, 0.1)
    assert (settings.padding, settings.window, settings.window_covers_first) == ("none", "square", True)
    assert (dino.first_labels, dino.keep_small, dino.min_max) == ("nearest", False, True)


def test_crw_has_the_values_of_its_readme() -> None:
    crw = get_protocol("crw")
    assert crw.features.std == (0.229, 0.224, 0.225)
    settings = crw.propagation
    assert (settings.context, settings.radius, settings.top_k, settings.temperature) == (20, 12, 10, 0.05)
    assert (settings.padding, settings.window, settings.window_covers_first) == ("first_frame", "disc", False)
    assert (crw.first_labels, crw.min_max) == ("bilinear", False)


def test_siammae_has_the_values_of_table_4b() -> None:
    assert _settings(get_protocol("siammae", "davis")) == (20, 20, 7, 0.7)
    assert _settings(get_protocol("siammae", "vip")) == (20, 8, 10, 0.7)
    assert _settings(get_protocol("siammae", "jhmdb")) == (20, 20, 7, 0.7)


@pytest.mark.parametrize(
    ("name", "values", "scored"),
    [
        ("cropmae_480x880", (20, 20, 7, 0.7), (480, 880)),
        ("rsp", (30, 30, 7, 0.1), (480, 880)),
        ("catmae_s16", (20, 18, 8, 0.7), (480, 880)),
        ("catmae_s8", (20, 32, 12, 0.5), (480, 880)),
        ("ino_davis", (10, 40, 5, 0.1), None),
        ("ino_ytvos", (20, 50, 5, 0.1), None),
        ("dinov3_s", (7, 12, 5, 0.2), None),
        ("dinov3_m", (7, 12, 5, 0.2), None),
        ("dinov3_l", (7, 12, 5, 0.2), None),
        ("vfs", (20, 18, 10, 0.07), None),
        ("dul", (20, 12, 10, 0.05), None),
    ],
)
def test_other_protocols_have_the_published_values(
    name: str, values: tuple[float, ...], scored: tuple[int, int] | None
) -> None:
    assert _settings(get_protocol(name)) == values
    assert get_protocol(name).scoring_size == scored


@pytest.mark.parametrize(
    ("name", "benchmark", "frame", "expected"),
    [
        ("siammae", "davis", (480, 854), (480, 880)),
        ("cropmae_480x880", "davis", (480, 854), (480, 880)),
        ("cropmae_480x880", "vip", (720, 1280), (448, 880)),
        ("cropmae_480x880", "jhmdb", (240, 320), (320, 320)),
        ("rsp", "davis", (480, 880), (480, 832)),
        ("crw", "davis", (480, 854), (480, 848)),
        ("crw", "vip", (720, 1280), (560, 560)),
        ("ino_davis", "davis", (480, 854), (480, 848)),
        ("ino_davis", "davis", (480, 910), (480, 904)),
        ("ino_ytvos", "ytvos", (719, 1283), (712, 1280)),
        ("ino_ytvos", "ytvos", (1080, 1920), (720, 1280)),
        ("ino_ytvos", "ytvos", (816, 1920), (720, 1280)),
        ("ino_ytvos", "ytvos", (1920, 1080), (1920, 1080)),
        ("dinov3_s", "davis", (480, 854), (480, 864)),
        ("dinov3_m", "davis", (480, 854), (960, 1712)),
        ("dinov3_m", "davis", (480, 848), (960, 1696)),  # no rounding is needed
        ("dinov3_l", "davis", (480, 854), (1440, 2576)),
        ("vfs", "davis", (480, 854), (480, 848)),
        ("dul", "ytvos", (720, 1280), (720, 1280)),
    ],
)
def test_input_sizes_are_as_published(
    name: str, benchmark: str, frame: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert get_protocol(name, benchmark).features.size.of(*frame) == expected


def test_grids_have_the_published_size() -> None:
    for name, grid in (("dino_480p", (30, 52)), ("cropmae_480x880", (30, 55)), ("siammae", (30, 55))):
        height, width = get_protocol(name).features.size.of(480, 854)
        assert (height / 16, width / 16) == grid


def test_lineages_differ_as_described() -> None:
    for name in ("dino_480p", "rsp", "ino_davis", "dinov3_m"):
        protocol = get_protocol(name)
        assert (protocol.propagation.padding, protocol.min_max) == ("none", True)
        assert protocol.propagation.window_covers_first
    for name in ("crw", "siammae", "cropmae_480x880", "catmae_s8", "dul"):
        protocol = get_protocol(name)
        assert (protocol.propagation.padding, protocol.min_max) == ("first_frame", False)
        assert (protocol.propagation.window, protocol.propagation.window_covers_first) == ("disc", False)
    assert (get_protocol("vfs").propagation.padding, get_protocol("vfs").min_max) == ("counted", True)
    assert get_protocol("dinov3_s").propagation.window == "disc_inclusive"
    assert {name for name in PROTOCOLS if get_protocol(name).propagation.late_objects == "own_context"} == {
        *("ino_davis", "ino_ytvos", "dul")
    }


def test_joint_settings_are_as_published() -> None:
    cropmae, crw = (get_protocol(name, "jhmdb").joints for name in ("cropmae_480x880", "crw"))
    assert (cropmae.top_cells, crw.top_cells) == (5, 3)
    assert all((one.truncate_borders, one.offset_cells, one.sigma_cells) == (True, 0, 0.5) for one in (cropmae, crw))
    assert not get_protocol("cropmae_480x880").joints.truncate_borders  # no published result on DAVIS has joints


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(ProtocolError, match="did you mean 'dino_480p'"):
        get_protocol("dino480p")
    with pytest.raises(ProtocolError, match="did you mean 'dinov3_m'"):
        get_protocol("dinov3m")
    with pytest.raises(ProtocolError, match="known are dino_480p, crw"):
        get_protocol("zzz")
    with pytest.raises(ProtocolError, match="did you mean 'jhmdb'"):
        get_protocol("crw", "jhmbd")


def test_the_document_shows_the_current_values() -> None:
    text = protocol_tables.DOCUMENT.read_text(encoding="utf-8")
    assert protocol_tables.build_document() == text, "run python -m tests.protocols.protocol_tables"
    assert all(text.count(f"`{name}`") > 4 for name in PROTOCOLS)  # the tables are not empty


def test_does_not_import_torch() -> None:
    program = "import sys, kinema.protocols.registry, kinema.benchmark.published; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
