"""YouTube-VOS: masks of objects that appear at any time, carried through every frame, kept for every fifth."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from kinema.benchmark.score import youtube_vos_scoring
from kinema.benchmark.scoring.youtube_vos import ANNOTATIONS, YouTubeVosScoring
from kinema.benchmark.task import Frame, Mask, Task, Tick, mask_picture, write_masks
from kinema.datasets.youtube_vos import YouTubeVosVideo, given_masks
from kinema.features import FeatureExtractor
from kinema.labeling.propagate_video import propagate
from kinema.protocols.registry import Benchmark, Protocol


class YouTubeVosTask(Task[YouTubeVosVideo]):
    """A split of YouTube-VOS: `Annotations/<video>/<frame>.png` for the frames listed, as the server takes it."""

    name: ClassVar[Benchmark] = "ytvos"
    predictions: ClassVar[str] = ANNOTATIONS
    submission: ClassVar[str | None] = ANNOTATIONS

    def __init__(
        self, root: Path, split: str, items: Sequence[YouTubeVosVideo], protocol: Protocol, unseen: Sequence[str] = ()
    ) -> None:
        super().__init__(root, split, items, protocol)
        self.unseen = tuple(unseen)

    def scoring(self) -> YouTubeVosScoring | None:
        """J and F of seen and unseen categories; None where a video's masks are withheld."""
        if not all(item.truth_paths for item in self.items):
            return None
        return youtube_vos_scoring(self.root, size=self.protocol.scoring_size, unseen=self.unseen)

    def check(self) -> None:
        """Every video begins with masks of its frames' size, and the categories seen are known where it is scored."""
        self.scoring()
        for item in self.items:
            frames = {path.stem: path for path in item.frame_paths}
            self.require_size(frames[item.label_paths[0].stem], item.label_paths[0])

    def frame_paths(self, item: YouTubeVosVideo) -> tuple[Path, ...]:
        """Every frame, not only those that masks are kept for."""
        return item.frame_paths

    def strided(self, item: YouTubeVosVideo, stride: int) -> YouTubeVosVideo:
        """Every `stride`-th frame from the first labeled one on, and those that are labeled or scored."""
        kept = {path.stem for path in (*item.label_paths, *item.truth_paths)}
        first = min(given_masks(item), key=int)
        onward = [path for path in item.frame_paths if int(path.stem) >= int(first)]
        frames = tuple(path for n, path in enumerate(onward) if n % stride == 0 or path.stem in kept)
        return replace(item, frame_paths=frames, listed=())

    def output(self, item: YouTubeVosVideo) -> str:
        """A folder."""
        return item.name

    def predict(self, item: YouTubeVosVideo, extractor: FeatureExtractor, place: Path, tick: Tick) -> None:
        """A mask for every frame that is listed or scored; empty before the first object appears."""
        wanted = {*item.listed, *(path.stem for path in item.truth_paths)}
        names = [path.stem if path.stem in wanted else None for path in item.frame_paths]
        write_masks(self._carried(item, extractor), names, place, tick)

    def _carried(self, item: YouTubeVosVideo, extractor: FeatureExtractor) -> Iterator[Mask]:
        stems = [path.stem for path in item.frame_paths]
        labels = {stems.index(name): self.label(mask) for name, mask in given_masks(item).items()}
        first = min(labels)
        for _ in range(first):
            yield np.zeros_like(labels[first])
        later = {position - first: mask for position, mask in labels.items()}
        yield from propagate(self.frames(item.frame_paths[first:]), later, extractor, self.protocol)

    def picture(self, item: YouTubeVosVideo, position: int, results: Path | None) -> Frame:
        """The frame of the nearest true mask at or before a position, with it."""
        frames = {path.stem: path for path in item.frame_paths}
        upto = [path for path in item.truth_paths if int(path.stem) <= int(item.frame_paths[position].stem)]
        truth = upto[-1] if upto else item.truth_paths[0]
        return mask_picture(frames[truth.stem], truth, results and results / item.name / truth.name)
