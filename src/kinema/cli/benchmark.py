"""`kinema benchmark`: the score of a network on a labeled data set, together with its protocol."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from kinema.benchmark.grid import SweepGrid, require_tuning_split
from kinema.benchmark.registry import describe_benchmarks, require_options
from kinema.cli.option_groups import DEFAULT_BENCHMARK, PUBLISHED_PROTOCOL, ProtocolName, resolve_protocol_settings
from kinema.cli.tables import format_comparison, format_scores, format_sweep
from kinema.cli.terminal import Common, Device, answer, fail, parse, run, show_progress
from kinema.errors import ConfigError, KinemaError
from kinema.layouts import DATASETS, Benchmark
from kinema.propagation.propagation_config import PropagationConfig
from kinema.protocols.protocol import apply_overrides
from kinema.protocols.registry import Protocol, get_protocol
from kinema.settings import FeatureSettings
from kinema.weights.builtin import DEFAULT_WEIGHTS

if TYPE_CHECKING:
    from kinema.benchmark.task import Task


@dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Propagate the first labels of every sequence through its frames, and score the result."""

    benchmark: Annotated[tyro.conf.Positional[Benchmark], tyro.conf.arg(help=f"{describe_benchmarks()}.")]
    root: Path
    """The data set."""
    weights: str | None = None
    """The encoder: a built-in one (`kinema models` lists them), a run folder, a file or folder of any format in
    docs/weights.md, hf:ORG/NAME or timm:NAME; untrained:tiny/16@SEED or pixels:16 for comparison. Unset, and
    without --compare: the default built-in encoder."""
    compare: tuple[str, ...] = ()
    """Several networks instead of --weights, to be compared with each other and with published results."""
    out: Path
    """A new folder for the predictions, pictures of the worst and best sequences, and result.json."""
    features: tyro.conf.FlagConversionOff[FeatureSettings]
    propagation: tyro.conf.FlagConversionOff[PropagationConfig]
    protocol: ProtocolName = PUBLISHED_PROTOCOL
    set: str | None = None
    """Which list of sequences: val, train, or another one of the data set. The default is val, for ytvos valid, for
    jhmdb test, and for --sweep train."""
    sequences: tuple[str, ...] = ()
    """Run only these sequences of the list."""
    fold: int = 1
    """Which of JHMDB's three lists."""
    unseen: tuple[str, ...] = ()
    """Categories of YouTube-VOS to count as unseen, in addition to those that its train split does not have."""
    sweep: bool = False
    """Try every combination of the values under --grid; report the best one and the effect of each value."""
    grid: SweepGrid = SweepGrid()
    tune_on_val: bool = False
    """Let --sweep choose on a list that papers report. The resulting number must not be compared with theirs."""
    device: Device = "auto"


def main(arguments: Sequence[str]) -> int:
    """Runs the benchmark and prints its table; returns the exit code."""
    # The protocol's values for this data set are the defaults of the options, so its name is needed before parsing.
    benchmark = next((word for word in arguments if word in DATASETS), DEFAULT_BENCHMARK)
    try:
        settings = resolve_protocol_settings(arguments, benchmark)
    except KinemaError as error:
        return fail(error, debug="--debug" in arguments)
    given = parse(Arguments, arguments, command="benchmark", **settings)
    return run(lambda: _benchmark(given), debug=given.debug)


def _benchmark(given: Arguments) -> None:
    _check(given)
    from kinema.benchmark.benchmark_run import open_task

    protocol = apply_overrides(get_protocol(given.protocol, given.benchmark), given.features, given.propagation)
    task = open_task(
        given.benchmark,
        given.root,
        protocol,
        split=given.set or ("train" if given.sweep else None),
        sequences=given.sequences or None,
        fold=given.fold,
        unseen=given.unseen,
    )
    if given.sweep:
        result, text = _sweep(task, given)
    else:
        result, text = _compare(task, given) if given.compare else _run(task, given)
    answer(result, f"{text}\nprotocol: {_describe(protocol)}", as_json=given.json)


def _check(given: Arguments) -> None:
    require_options(given.benchmark, fold=given.fold, unseen=given.unseen)
    if given.weights is not None and given.compare:
        raise ConfigError("both --weights and --compare", where="benchmark", fix="give one network, or several")
    if given.sweep:
        if given.compare:
            raise ConfigError("--sweep with --compare", where="benchmark", fix="sweep one network at a time")
        require_tuning_split(given.set or "train", allowed=given.tune_on_val)
    elif given.grid != SweepGrid() or given.tune_on_val:
        raise ConfigError("--grid or --tune-on-val without --sweep", where="benchmark", fix="give --sweep as well")


def _run(task: "Task[Any]", given: Arguments) -> tuple[dict[str, Any], str]:
    from kinema.benchmark.benchmark_run import run as run_task
    from kinema.weights.load import load

    extractor = load(given.weights or DEFAULT_WEIGHTS, settings=task.protocol.features, device=given.device)
    with show_progress("propagating") as report:
        result = run_task(task, extractor, given.out, report=report)
    lines = (
        [format_scores(result.summary, result.rows)] if result.rows else ["true labels are withheld: nothing to score"]
    )
    if result.submission:
        lines.append(f"for the server: {result.submission}")
    return result.as_json(), "\n".join(lines)


def _compare(task: "Task[Any]", given: Arguments) -> tuple[dict[str, Any], str]:
    from kinema.benchmark.compare import compare
    from kinema.weights.load import load

    with show_progress("propagating") as report:
        compared = compare(
            task,
            given.compare,
            lambda name: load(name, settings=task.protocol.features, device=given.device),
            given.out,
            report=report,
        ).as_json()
    return compared, format_comparison(compared["measures"], compared["rows"], compared["warnings"])


def _sweep(task: "Task[Any]", given: Arguments) -> tuple[dict[str, Any], str]:
    from kinema.benchmark.sweep import sweep
    from kinema.weights.load import load

    extractor = load(given.weights or DEFAULT_WEIGHTS, settings=task.protocol.features, device=given.device)
    with show_progress("sweeping") as report:
        result = sweep(task, extractor, given.grid, given.out, report=report).as_json()
    return result, format_sweep(result)


def _describe(protocol: Protocol) -> str:
    """Returns the protocol's name, what stands in for unpublished settings, and the size of scored masks."""
    parts = [f"{protocol.name}, version {protocol.version}"]
    if protocol.extension:
        parts.append(protocol.extension)
    if protocol.scoring_size:
        parts.append("scored at {}x{} (height, width)".format(*protocol.scoring_size))
    return "; ".join(parts)
