"""YouTube-VOS: propagates the masks of objects that appear at any time, and writes those of every fifth frame."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from kinema.benchmark.scoring.youtube_vos import ANNOTATIONS, YouTubeVosScoring
from kinema.benchmark.task import Frame, Mask, Task, Tick, draw_mask, write_masks
from kinema.datasets.youtube_vos import YouTubeVosVideo, given_masks
from kinema.features import FeatureExtractor
from kinema.labeling.propagate_video import propagate
from kinema.layouts import Benchmark
from kinema.protocols.registry import Protocol


class YouTubeVosTask(Task[YouTubeVosVideo]):
    """YouTube-VOS; predictions are `Annotations/<video>/<frame>.png` for the listed frames, as the server expects."""

    name: ClassVar[Benchmark] = "ytvos"
    predictions: ClassVar[str] = ANNOTATIONS
    submission: ClassVar[str | None] = ANNOTATIONS
    server_split: ClassVar[str | None] = "valid"

    def __init__(
        self, root: Path, split: str, items: Sequence[YouTubeVosVideo], protocol: Protocol, unseen: Sequence[str] = ()
    ) -> None:
        super().__init__(root, split, items, protocol)
        self.unseen = tuple(unseen)

    def scoring(self) -> YouTubeVosScoring | None:
        """Returns J and F of seen and unseen categories, or None if the masks of a video are withheld."""
        if not all(item.truth_paths for item in self.items):
            return None
        return YouTubeVosScoring.for_root(self.root, size=self.protocol.scoring_size, unseen=self.unseen)

    def check(self) -> None:
        """Checks the size of every video's first masks and, if it is scored, that the seen categories are known."""
        self.scoring()
        for item in self.items:
            frames = {path.stem: path for path in item.frame_paths}
            self.require_size(frames[item.label_paths[0].stem], item.label_paths[0])

    def frame_paths(self, item: YouTubeVosVideo) -> tuple[Path, ...]:
        """Returns all frames, including those whose masks are not written."""
        return item.frame_paths

    def subsample(self, item: YouTubeVosVideo, stride: int) -> YouTubeVosVideo:
        """Keeps every `stride`-th frame from the first labeled one on, and all labeled or scored frames."""
        required = {path.stem for path in (*item.label_paths, *item.truth_paths)}
        first = min(given_masks(item), key=int)
        remaining = [path for path in item.frame_paths if int(path.stem) >= int(first)]
        frames = tuple(path for n, path in enumerate(remaining) if n % stride == 0 or path.stem in required)
        return replace(item, frame_paths=frames, listed=())

    def output(self, item: YouTubeVosVideo) -> str:
        """Returns the name of a folder."""
        return item.name

    def predict(self, item: YouTubeVosVideo, extractor: FeatureExtractor, place: Path, tick: Tick) -> None:
        """Writes a mask for every listed or scored frame; it is empty before the first object appears."""
        wanted = {*item.listed, *(path.stem for path in item.truth_paths)}
        names = [path.stem if path.stem in wanted else None for path in item.frame_paths]
        write_masks(self._propagate_masks(item, extractor), names, place, tick)

    def _propagate_masks(self, item: YouTubeVosVideo, extractor: FeatureExtractor) -> Iterator[Mask]:
        stems = [path.stem for path in item.frame_paths]
        labels = {stems.index(name): self.label(mask) for name, mask in given_masks(item).items()}
        first = min(labels)
        # Propagation starts at the first label; the frames before it show no object yet.
        for _ in range(first):
            yield np.zeros_like(labels[first])
        shifted = {position - first: mask for position, mask in labels.items()}
        yield from propagate(self.frames(item.frame_paths[first:]), shifted, extractor, self.protocol)

    def picture(self, item: YouTubeVosVideo, position: int, results: Path | None) -> Frame:
        """Draws the mask of the last scored frame up to a position over that frame."""
        frames = {path.stem: path for path in item.frame_paths}
        earlier = [path for path in item.truth_paths if int(path.stem) <= int(item.frame_paths[position].stem)]
        truth = earlier[-1] if earlier else item.truth_paths[0]
        return draw_mask(frames[truth.stem], truth, results and results / item.name / truth.name)
