"""`kinema probe`: how well a network's frozen features tell classes apart, or the features themselves."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from kinema.cli.tables import format_accuracy, format_unreadable
from kinema.cli.terminal import Common, Device, answer, parse, run, show_progress
from kinema.errors import ConfigError, counted
from kinema.transfer.probe_config import ClipReading, KNNConfig, ProbeConfig
from kinema.weights.builtin import DEFAULT_WEIGHTS

if TYPE_CHECKING:
    from kinema.benchmark.recognition import ProbeResult


@dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Classify videos or images by frozen features: no part of the network is trained."""

    kind: tyro.conf.Positional[Literal["knn", "linear", "attentive"]]
    """k nearest neighbors; a linear classifier on one vector a view (--reading.pooling); one query that attends to all
    tokens."""
    dataset: str = "folders"
    """ucf101, hmdb51, kinetics, ssv2, moments, folders (SPLIT/CLASS/FILE, as ImageNet and CIFAR are unpacked) or list
    (SPLIT.csv with path and label)."""
    root: Annotated[Path, tyro.conf.arg(aliases=["--data"])]
    """The data set."""
    weights: str = DEFAULT_WEIGHTS
    """The encoder: a built-in one (`kinema models` lists them), a run folder, a file or folder of any format in
    docs/weights.md, hf:ORG/NAME or timm:NAME; untrained:tiny/16@SEED or pixels:16 for comparison."""
    out: Path
    """A new folder for result.json and the features."""
    train: str = "train"
    """The split to learn from."""
    test: str | None = None
    """The split to test on. Unset: test, or val in a data set of folders that has no other."""
    train_list: Path | None = None
    """Learn only from the training files that this list names, a line each (1 % and 10 % of ImageNet)."""
    train_share: float = 1.0
    """Learn only from this share of each class's training files, in (0, 1]."""
    fold: int = 1
    """Of the three official splits of UCF101 and HMDB51."""
    seeds: int = 5
    """Probes trained, each from another seed; the table gives mean and spread."""
    reading: tyro.conf.FlagConversionOff[tyro.conf.AvoidSubcommands[ClipReading]] = ClipReading()
    knn: KNNConfig = KNNConfig()
    probe: tyro.conf.OmitSubcommandPrefixes[ProbeConfig] = ProbeConfig()
    num_workers: int = 1
    """Processes that read and decode; 0 reads in the main one."""
    device: Device = "auto"


def main(arguments: Sequence[str]) -> int:
    """Runs the probe and prints its table; gives the exit code."""
    given = parse(Arguments, arguments, command="probe")
    return run(lambda: _probe(given), debug=given.debug)


def _probe(given: Arguments) -> None:
    if given.seeds < 1:
        raise ConfigError(f"{given.seeds} seeds", where="--seeds", fix="give at least 1")
    from kinema.benchmark.recognition import LabeledData, probe
    from kinema.weights.load import load

    data = LabeledData(
        dataset=given.dataset,
        root=given.root,
        train=given.train,
        test=given.test or _test_split(given),
        fold=given.fold,
        train_list=given.train_list,
        train_share=given.train_share,
    )
    extractor = load(given.weights, device=given.device)
    with show_progress("reading") as report:
        result = probe(
            given.kind,
            data,
            extractor,
            given.out,
            reading=given.reading,
            knn=given.knn,
            training=given.probe,
            num_seeds=given.seeds,
            num_workers=given.num_workers,
            report=report,
        )
    answer(result.as_json(), _table(result), as_json=given.json)


def _test_split(given: Arguments) -> str:
    is_imagenet_like = given.dataset == "folders" and (given.root / "val").is_dir()
    return "val" if is_imagenet_like and not (given.root / "test").is_dir() else "test"


def _table(result: "ProbeResult") -> str:
    views, summary = result.reading.num_views, result.summary
    lines = [
        f"{result.probe} on {result.data['dataset']}: {result.classes} classes, {result.train_files} training and "
        f"{result.test_files} test files, {counted(views, 'view')} each"
    ]
    for row in result.rows if len(result.rows) > 1 else ():
        lines.append(f"seed {row['seed']}: top-1 {100 * row['top1']:.1f}  (learning rate {row['learning_rate']:g})")
    spread = f" ± {100 * summary['top1_std']:.1f}" if len(result.rows) > 1 else ""
    lines.append(format_accuracy(summary, spread))
    return "\n".join([*lines, *format_unreadable(result.unreadable)])
