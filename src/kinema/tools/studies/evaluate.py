"""What a study measures of a trained network: label propagation and recognition, each by its own benchmark."""

from collections.abc import Iterator
from dataclasses import fields, replace

import torch

from kinema.benchmark.recognition import LabeledData
from kinema.benchmark.registry import BENCHMARKS
from kinema.errors import ConfigError, DatasetError
from kinema.layouts import Benchmark
from kinema.ops.precision import resolve_device, resolve_precision
from kinema.tools.studies.dials import Dialled, dialled
from kinema.tools.studies.finetuned import FineTuned
from kinema.tools.studies.probes import Probed
from kinema.tools.studies.propagation import Propagated, propagated
from kinema.tools.studies.study_config import Evaluations

_OPTIONS = [field.name for field in fields(Evaluations)]
_BENCHMARKS: list[Benchmark] = sorted(BENCHMARKS.keys() & _OPTIONS, key=_OPTIONS.index)
"""The benchmarks that have an option, in the order of the options."""
Evaluation = Propagated | Dialled | Probed | FineTuned
"""One number to measure of every network: its name, a check of its data, what it depends on, and its value."""


def evaluations(settings: Evaluations, *, device: str = "auto") -> tuple[list[Evaluation], list[str]]:
    """What can be measured, and a line for each number that is asked for and whose data set cannot be used.

    device: that numbers are computed on; it says which arithmetic `auto` is, for that is part of what a number is.
    ConfigError where nothing is asked for or another synthetic set is in the way, DatasetError where nothing that is
    asked for can be used.
    """
    wanted = list(_wanted(_in_arithmetic_of(resolve_device(device), settings)))
    if not wanted:
        roots = ", ".join(f"--evaluate.{name} ROOT" for name in _BENCHMARKS)
        fix = f"give {roots}, --evaluate.dials FOLDER, or --evaluate.dataset NAME with --evaluate.root ROOT"
        raise ConfigError("nothing to measure", where="kinema ablate", fix=fix)
    usable, faults = [], []
    for evaluation in wanted:
        try:
            evaluation.check()
        except DatasetError as error:
            faults.append(error)
        else:
            usable.append(evaluation)
    if not usable:
        raise faults[0]
    return usable, [f"not measured: {error}" for error in faults]


def _in_arithmetic_of(device: torch.device, settings: Evaluations) -> Evaluations:
    reading = replace(settings.reading, precision=resolve_precision(settings.reading.precision, device, "features"))
    return replace(settings, precision=resolve_precision(settings.precision, device, "features"), reading=reading)


def _wanted(settings: Evaluations) -> Iterator[Evaluation]:
    for name in _BENCHMARKS:
        if root := getattr(settings, name):
            yield from propagated(name, root, settings)
    if settings.dials:
        yield from dialled(settings.dials, settings)
    if settings.dataset and settings.root:
        data = LabeledData(dataset=settings.dataset, root=settings.root)
        yield from (
            Probed(kind="knn", data=data, settings=settings),
            Probed(kind="linear", data=data, settings=settings),
        )
        if settings.finetune_steps is not None:
            yield FineTuned(data=data, settings=settings)
