"""VIP: propagates the first frame's part masks through each video."""

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from kinema.benchmark.scoring.vip import VipScoring
from kinema.benchmark.task import Frame, Task, Tick, draw_mask, write_masks
from kinema.datasets.vip import NUM_CLASSES, VipVideo
from kinema.errors import DatasetError
from kinema.features import FeatureExtractor
from kinema.labeling.propagate_video import propagate
from kinema.layouts import Benchmark
from kinema.video.masks import read_mask


class VipTask(Task[VipVideo]):
    """VIP; predictions are `<video>/<frame>.png`, whose values are part categories."""

    name: ClassVar[Benchmark] = "vip"

    def scoring(self) -> VipScoring:
        """Returns the mean IoU."""
        return VipScoring(self.protocol.scoring_size)

    def check(self) -> None:
        """Checks that every video begins with a mask of parts that has its frames' size."""
        for item in self.items:
            self.require_size(item.frame_paths[0], item.mask_paths[0])
            first = read_mask(item.mask_paths[0])
            if not 0 < int(first.max()) < NUM_CLASSES:
                fix = f"the first mask must show parts, categories 1 to {NUM_CLASSES - 1}"
                raise DatasetError(f"the largest category is {first.max()}", where=str(item.mask_paths[0]), fix=fix)

    def frame_paths(self, item: VipVideo) -> tuple[Path, ...]:
        """Returns all frames."""
        return item.frame_paths

    def subsample(self, item: VipVideo, stride: int) -> VipVideo:
        """Keeps every `stride`-th frame and mask."""
        return replace(item, frame_paths=item.frame_paths[::stride], mask_paths=item.mask_paths[::stride])

    def output(self, item: VipVideo) -> str:
        """Returns the name of a folder."""
        return item.name

    def predict(self, item: VipVideo, extractor: FeatureExtractor, place: Path, tick: Tick) -> None:
        """Writes a mask for every frame."""
        first = self.label(read_mask(item.mask_paths[0]))
        masks = propagate(self.frames(item.frame_paths), first, extractor, self.protocol)
        write_masks(masks, [path.stem for path in item.frame_paths], place, tick)

    def picture(self, item: VipVideo, position: int, results: Path | None) -> Frame:
        """Draws the parts over a frame."""
        truth = item.mask_paths[position]
        return draw_mask(item.frame_paths[position], truth, results and results / item.name / truth.name)
