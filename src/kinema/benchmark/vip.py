"""VIP: the first frame's part masks carried through each video."""

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from kinema.benchmark.scoring.vip import VipScoring
from kinema.benchmark.task import Frame, Task, Tick, mask_picture, write_masks
from kinema.datasets.vip import NUM_CLASSES, VipVideo
from kinema.errors import DatasetError
from kinema.features import FeatureExtractor
from kinema.labeling.propagate_video import propagate
from kinema.protocols.registry import Benchmark
from kinema.video.masks import read_mask


class VipTask(Task[VipVideo]):
    """A list of VIP: `<video>/<frame>.png`, whose values are part categories."""

    name: ClassVar[Benchmark] = "vip"

    def scoring(self) -> VipScoring:
        """Mean IoU."""
        return VipScoring(self.protocol.scoring_size)

    def check(self) -> None:
        """Every video begins with a mask of parts, of its frames' size."""
        for item in self.items:
            self.require_size(item.frame_paths[0], item.mask_paths[0])
            first = read_mask(item.mask_paths[0])
            if not 0 < int(first.max()) < NUM_CLASSES:
                fix = f"the first mask must show parts, categories 1 to {NUM_CLASSES - 1}"
                raise DatasetError(f"the largest category is {first.max()}", where=str(item.mask_paths[0]), fix=fix)

    def frame_paths(self, item: VipVideo) -> tuple[Path, ...]:
        """Every frame."""
        return item.frame_paths

    def strided(self, item: VipVideo, stride: int) -> VipVideo:
        """Frames and masks alike."""
        return replace(item, frame_paths=item.frame_paths[::stride], mask_paths=item.mask_paths[::stride])

    def output(self, item: VipVideo) -> str:
        """A folder."""
        return item.name

    def predict(self, item: VipVideo, extractor: FeatureExtractor, place: Path, tick: Tick) -> None:
        """A mask for every frame."""
        first = self.label(read_mask(item.mask_paths[0]))
        masks = propagate(self.frames(item.frame_paths), first, extractor, self.protocol)
        write_masks(masks, [path.stem for path in item.frame_paths], place, tick)

    def picture(self, item: VipVideo, position: int, results: Path | None) -> Frame:
        """A frame with its parts."""
        truth = item.mask_paths[position]
        return mask_picture(item.frame_paths[position], truth, results and results / item.name / truth.name)
