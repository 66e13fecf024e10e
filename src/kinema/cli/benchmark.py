"""`kinema benchmark`: a network's score on a labelled data set, with the protocol written into it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from kinema.cli.settings import DEFAULT_PROTOCOL, ProtocolName, changed, protocol_settings
from kinema.cli.tables import score_table
from kinema.cli.terminal import Common, Device, answer, fail, parse, progress, run
from kinema.errors import KinemaError
from kinema.propagation.config import PropagationConfig
from kinema.propagation.protocols import protocol_named
from kinema.settings import FeatureSettings


@dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Carry the first masks of every sequence through it, and score the result."""

    benchmark: tyro.conf.Positional[Literal["davis"]]
    """DAVIS-2017, semi-supervised: J, F and J&F."""
    root: Path
    """The data set."""
    weights: str
    """A run folder or its encoder.safetensors; or untrained:tiny/16@SEED, pixels:16, for comparison."""
    out: Path
    """A new folder for the predicted masks and result.json."""
    features: tyro.conf.FlagConversionOff[FeatureSettings]
    propagation: tyro.conf.FlagConversionOff[PropagationConfig]
    protocol: ProtocolName = DEFAULT_PROTOCOL
    """The published settings to evaluate under; the options below start from them."""
    set: str = "val"
    """Which list of sequences: val, train, or another that the data set has."""
    sequences: tuple[str, ...] = ()
    """Only these of the list."""
    device: Device = "auto"


def main(arguments: Sequence[str]) -> int:
    """Runs the benchmark and prints its table; gives the exit code."""
    try:
        settings = protocol_settings(arguments)
    except KinemaError as error:
        return fail(error, debug="--debug" in arguments)
    given = parse(Arguments, arguments, command="benchmark", **settings)
    return run(lambda: _benchmark(given), debug=given.debug)


def _benchmark(given: Arguments) -> None:
    from kinema.benchmark.davis import benchmark_davis
    from kinema.pipeline.load import load

    protocol = changed(protocol_named(given.protocol), given.features, given.propagation)
    extractor = load(given.weights, device=given.device)
    with progress("propagating") as report:
        result = benchmark_davis(
            given.root,
            extractor,
            protocol,
            given.out,
            split=given.set,
            sequences=given.sequences or None,
            report=report,
        )
    text = f"{score_table(result.summary, result.rows)}\nprotocol: {protocol.name}, version {protocol.version}"
    answer(result.as_json(), text, as_json=given.json)
