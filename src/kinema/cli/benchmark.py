"""`kinema benchmark`: a network's score on a labeled data set, with the protocol written into it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from kinema.benchmark.grid import SweepGrid, require_tuning_split
from kinema.cli.option_groups import DEFAULT_PROTOCOL, ProtocolName, protocol_settings
from kinema.cli.score import require_options
from kinema.cli.tables import compared_table, score_table, sweep_table
from kinema.cli.terminal import Common, Device, answer, fail, parse, progress, run
from kinema.errors import ConfigError, KinemaError
from kinema.layouts import DATASETS
from kinema.propagation.propagation_config import PropagationConfig
from kinema.protocols.protocol import apply_overrides
from kinema.protocols.registry import Protocol, get_protocol
from kinema.settings import FeatureSettings

if TYPE_CHECKING:
    from kinema.benchmark.task import Task


@dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Carry the first labels of every sequence through it, and score the result."""

    benchmark: tyro.conf.Positional[Literal["davis", "ytvos", "vip", "jhmdb"]]
    """DAVIS-2017 (J, F), YouTube-VOS (J and F of seen and unseen categories), VIP (mIoU), JHMDB (PCK)."""
    root: Path
    """The data set."""
    weights: str | None = None
    """A run folder, a file or folder of any format in docs/weights.md, hf:ORG/NAME or timm:NAME; or
    untrained:tiny/16@SEED, pixels:16, for comparison."""
    compare: tuple[str, ...] = ()
    """Several networks in place of --weights: one table, with the published rows beside them."""
    out: Path
    """A new folder for the predictions, pictures of the worst and best sequences, and result.json."""
    features: tyro.conf.FlagConversionOff[FeatureSettings]
    propagation: tyro.conf.FlagConversionOff[PropagationConfig]
    protocol: ProtocolName = DEFAULT_PROTOCOL
    set: str | None = None
    """Which list of sequences: val, train, or another that the data set has; by default val, for ytvos valid, for jhmdb
    test, and train for --sweep."""
    sequences: tuple[str, ...] = ()
    """Only these of the list."""
    fold: int = 1
    """Of JHMDB's three lists."""
    unseen: tuple[str, ...] = ()
    """Categories of YouTube-VOS to count as unseen beside those that its train split does not have."""
    sweep: bool = False
    """Try every combination of the values under --grid, and say which is best and what each dial is worth."""
    grid: SweepGrid = SweepGrid()
    tune_on_val: bool = False
    """Let --sweep choose on a list that papers report; such a number is not to be reported beside theirs."""
    device: Device = "auto"


def main(arguments: Sequence[str]) -> int:
    """Runs the benchmark and prints its table; gives the exit code."""
    named = next((word for word in arguments if word in DATASETS), "davis")
    try:
        settings = protocol_settings(arguments, named)
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
    answer(result, f"{text}\nprotocol: {_described(protocol)}", as_json=given.json)


def _check(given: Arguments) -> None:
    require_options(given.benchmark, fold=given.fold, unseen=given.unseen)
    if (given.weights is None) == (not given.compare):
        raise ConfigError("not one of --weights and --compare", where="benchmark", fix="give one network, or several")
    if given.sweep:
        if given.compare:
            raise ConfigError("--sweep with --compare", where="benchmark", fix="sweep one network at a time")
        require_tuning_split(given.set or "train", allowed=given.tune_on_val)
    elif given.grid != SweepGrid() or given.tune_on_val:
        raise ConfigError("--grid or --tune-on-val without --sweep", where="benchmark", fix="give --sweep as well")


def _run(task: "Task[Any]", given: Arguments) -> tuple[dict[str, Any], str]:
    from kinema.benchmark.benchmark_run import run as run_task
    from kinema.weights.load import load

    extractor = load(str(given.weights), settings=task.protocol.features, device=given.device)
    with progress("propagating") as report:
        result = run_task(task, extractor, given.out, report=report)
    lines = [score_table(result.summary, result.rows)] if result.rows else ["no truth here: nothing to score"]
    if result.submission:
        lines.append(f"for the server: {result.submission}")
    return result.as_json(), "\n".join(lines)


def _compare(task: "Task[Any]", given: Arguments) -> tuple[dict[str, Any], str]:
    from kinema.benchmark.compare import compare
    from kinema.weights.load import load

    with progress("propagating") as report:
        compared = compare(
            task,
            given.compare,
            lambda name: load(name, settings=task.protocol.features, device=given.device),
            given.out,
            report=report,
        ).as_json()
    return compared, compared_table(compared["measures"], compared["rows"], compared["warnings"])


def _sweep(task: "Task[Any]", given: Arguments) -> tuple[dict[str, Any], str]:
    from kinema.benchmark.sweep import sweep
    from kinema.weights.load import load

    extractor = load(str(given.weights), settings=task.protocol.features, device=given.device)
    with progress("sweeping") as report:
        result = sweep(task, extractor, given.grid, given.out, report=report).as_json()
    return result, sweep_table(result)


def _described(protocol: Protocol) -> str:
    """The protocol, whether it was published for this data set, and at which size its masks are scored."""
    parts = [f"{protocol.name}, version {protocol.version}"]
    if protocol.extension:
        parts.append(protocol.extension)
    if protocol.scoring_size:
        parts.append("scored at {}x{} (height, width)".format(*protocol.scoring_size))
    return "; ".join(parts)
