"""J&F by difficulty: the same propagation on synthetic sets that differ from an easy one by one factor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from kinema.benchmark.benchmark_run import Report
from kinema.features import FeatureExtractor
from kinema.tools.studies.propagation import Propagated
from kinema.tools.studies.study_config import Evaluations
from kinema.tools.studies.verdict import pooled_spread
from kinema.tools.synthetic.write import EASY, FACTORS, DialSets

_PREFIX = "J&F"
EASY_MEASURE = f"{_PREFIX} {EASY}"
FACTOR_MEASURES = tuple(f"{_PREFIX} {factor}" for factor in FACTORS)


@dataclass(frozen=True, kw_only=True)
class Dialled:
    """J&F on one of the sets (`evaluate.Evaluation`), which is rendered when it is first needed."""

    name: str
    """`EASY` or one of `FACTORS`."""
    sets: DialSets
    settings: Evaluations

    @property
    def measure(self) -> str:
        """Its name in tables."""
        return f"{_PREFIX} {self.name}"

    def check(self) -> None:
        """Raises ConfigError where another set is in this one's place; an absent one is no fault."""
        self.sets.is_rendered(self.name)

    def at(self, layer: int) -> "Dialled":
        """The same with the output of another block."""
        return replace(self, settings=replace(self.settings, layer=layer))

    def of(self, extractor: FeatureExtractor, folder: Path, report: Report) -> float:
        """The number, in percent; measured once, then read from `folder`."""
        self.sets.render(self.name, on_clip=lambda done, clips: report(f"rendering {self.name}", done, clips))
        return self._propagated().of(extractor, folder, report)

    def described(self) -> dict[str, Any]:
        """All that the number depends on beside the network, in plain values."""
        return self._propagated().described()

    def _propagated(self) -> Propagated:
        return Propagated(
            measure=self.measure,
            of_summary="J&F-Mean",
            benchmark="davis",
            root=self.sets.root(self.name),
            settings=replace(self.settings, sequences=()),  # those are of other data
            data={"set": self.sets.describe(self.name)},
        )


def dialled(folder: Path, settings: Evaluations) -> list[Dialled]:
    """J&F on the easy set and on that of every factor, under `folder`. ConfigError for too few clips or frames."""
    sets = DialSets(folder=folder, clips=settings.dial_clips, num_frames=settings.dial_frames)
    return [Dialled(name=name, sets=sets, settings=settings) for name in (EASY, *FACTORS)]


def change_sentence(measure: str, changes: Mapping[str, Sequence[float]], *, unit: str) -> str:
    """Which arms a factor costs least and most. changes: of each arm, one a seed, `measure` less `EASY_MEASURE`."""
    means = {name: fmean(each) for name, each in changes.items() if each}
    if not means:
        return f"{measure} less {EASY_MEASURE}: no arm was measured."
    best, worst = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
    spread = pooled_spread(changes.values())
    seeds = "one seed" if spread is None else f"seeds of one arm spread by {spread:.1f}"
    others = f", at worst {means[worst]:+.1f} ({worst})" if len(means) > 1 else ""
    return f"{measure} less {EASY_MEASURE}: at best {means[best]:+.1f} {unit} ({best}){others}; {seeds}."
