"""DAVIS-2017, semi-supervised: propagates the first frame's masks through each sequence."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import UInt8

from kinema.benchmark.scoring.davis import VOID, DavisScoring, count_objects
from kinema.benchmark.task import Frame, Mask, Task, Tick, draw_mask, write_masks
from kinema.datasets.davis import DavisSequence
from kinema.features import FeatureExtractor
from kinema.labeling.propagate_video import propagate
from kinema.layouts import Benchmark
from kinema.metrics.segmentation import score_sequence, summarize
from kinema.protocols.registry import Protocol
from kinema.video.masks import read_mask


class DavisTask(Task[DavisSequence]):
    """DAVIS-2017; predictions are `<sequence>/<frame>.png`, as the official tool and the server expect."""

    name: ClassVar[Benchmark] = "davis"
    submission: ClassVar[str | None] = ""

    def scoring(self) -> DavisScoring | None:
        """Returns the measure, or None if a sequence has only its first mask, as in test-dev."""
        is_complete = all(item.has_truth for item in self.items)
        return DavisScoring(self.protocol.scoring_size) if is_complete else None

    def check(self) -> None:
        """Checks that every sequence has objects, scored frames, and masks of its frames' size."""
        for item in self.items:
            if self.scoring() is not None:
                count_objects(item)
            self.require_size(item.frame_paths[0], item.mask_paths[0])

    def frame_paths(self, item: DavisSequence) -> tuple[Path, ...]:
        """Returns all frames."""
        return item.frame_paths

    def subsample(self, item: DavisSequence, stride: int) -> DavisSequence:
        """Keeps every `stride`-th frame and mask."""
        return replace(item, frame_paths=item.frame_paths[::stride], mask_paths=item.mask_paths[::stride])

    def output(self, item: DavisSequence) -> str:
        """Returns the name of a folder."""
        return item.name

    def predict(self, item: DavisSequence, extractor: FeatureExtractor, place: Path, tick: Tick) -> None:
        """Writes a mask for every frame."""
        names = [path.stem for path in item.frame_paths]
        write_masks(self.propagate_masks(item, extractor), names, place, tick)

    def propagate_masks(self, item: DavisSequence, extractor: FeatureExtractor) -> Iterator[Mask]:
        """Yields a mask for every frame of a sequence, propagated from the first."""
        first = read_mask(item.mask_paths[0])
        # Void pixels are not scored, but as a label they would be propagated like an object.
        first = np.where(first == VOID, np.uint8(0), first)
        return propagate(self.frames(item.frame_paths), self.label(first), extractor, self.protocol)

    def picture(self, item: DavisSequence, position: int, results: Path | None) -> Frame:
        """Draws the mask over a frame."""
        truth = item.mask_paths[position]
        predicted = results and results / item.name / truth.name
        return draw_mask(item.frame_paths[position], truth, predicted)


def compute_davis_scores(
    sequences: Sequence[DavisSequence],
    extractor: FeatureExtractor,
    protocol: Protocol,
    *,
    watch: Callable[[DavisSequence, UInt8[np.ndarray, "F H W"]], None] = lambda *_: None,
) -> dict[str, float]:
    """Computes the summary without writing files, for evaluation during training.

    Masks are scored at the frames' own size, whatever the protocol's scoring size.

    watch: called with each sequence and its propagated masks. Raises DatasetError if a sequence has no objects or no
    scored frame.
    """
    task = DavisTask(Path(), "", sequences, replace(protocol, scoring_size=None))
    objects = []
    for sequence in sequences:
        num_objects = count_objects(sequence)
        truth = np.stack([read_mask(path) for path in sequence.mask_paths])
        predicted = np.stack(list(task.propagate_masks(sequence, extractor)))
        watch(sequence, predicted)
        objects += score_sequence(truth[1:-1], predicted[1:-1], range(1, num_objects + 1))
    return summarize(objects)
