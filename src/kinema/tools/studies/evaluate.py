"""Which numbers a study measures of a trained network: label propagation and recognition, by their benchmarks."""

from collections.abc import Iterator
from dataclasses import fields, replace

import torch

from kinema.benchmark.recognition import LabeledData
from kinema.benchmark.registry import BENCHMARKS
from kinema.errors import ConfigError, DatasetError
from kinema.layouts import Benchmark
from kinema.ops.precision import resolve_device, resolve_precision
from kinema.tools.studies.propagation_measures import (
    DialMeasure,
    PropagationMeasure,
    build_dial_measures,
    build_propagation_measures,
)
from kinema.tools.studies.recognition_measures import FineTuneMeasure, ProbeMeasure
from kinema.tools.studies.study_config import Evaluations

_OPTIONS = [field.name for field in fields(Evaluations)]
_BENCHMARKS: list[Benchmark] = sorted(BENCHMARKS.keys() & _OPTIONS, key=_OPTIONS.index)
"""The benchmarks that have an option, in the order of the options."""
Evaluation = PropagationMeasure | DialMeasure | ProbeMeasure | FineTuneMeasure
"""One number to measure of every network: its name, a check of its data, what it depends on, and its value."""


def build_evaluations(settings: Evaluations, *, device: str = "auto") -> tuple[list[Evaluation], list[str]]:
    """Returns what can be measured, and a line for each requested number whose data set cannot be used.

    device: device of the computation. It decides what precision `auto` means, which is part of a number's identity.
    Raises ConfigError if nothing is requested or another synthetic set is in the way, DatasetError if none of the
    requested data sets can be used.
    """
    wanted = list(_list_wanted(_resolve_precisions(resolve_device(device), settings)))
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


def _resolve_precisions(device: torch.device, settings: Evaluations) -> Evaluations:
    reading = replace(settings.reading, precision=resolve_precision(settings.reading.precision, device, "features"))
    return replace(settings, precision=resolve_precision(settings.precision, device, "features"), reading=reading)


def _list_wanted(settings: Evaluations) -> Iterator[Evaluation]:
    for name in _BENCHMARKS:
        if root := getattr(settings, name):
            yield from build_propagation_measures(name, root, settings)
    if settings.dials:
        yield from build_dial_measures(settings.dials, settings)
    if settings.dataset and settings.root:
        data = LabeledData(dataset=settings.dataset, root=settings.root)
        yield from (
            ProbeMeasure(kind="knn", data=data, settings=settings),
            ProbeMeasure(kind="linear", data=data, settings=settings),
        )
        if settings.finetune_steps is not None:
            yield FineTuneMeasure(data=data, settings=settings)
