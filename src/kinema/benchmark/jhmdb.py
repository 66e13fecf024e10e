"""JHMDB: the first frame's joints carried through each clip."""

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from kinema.benchmark.scoring.jhmdb import JhmdbScoring, csv_name, read_joints, write_joints
from kinema.benchmark.task import Frame, Task, Tick
from kinema.datasets.jhmdb import JOINTS, LIMBS, JhmdbSequence
from kinema.errors import ProtocolError
from kinema.features import FeatureExtractor
from kinema.labeling.propagate_video import propagate_keypoints
from kinema.protocols.registry import Benchmark
from kinema.video.images import read_image
from kinema.video.overlays import overlay_points


class JhmdbTask(Task[JhmdbSequence]):
    """Clips of JHMDB: `<clip>.csv`, a line a joint and frame."""

    name: ClassVar[Benchmark] = "jhmdb"

    def scoring(self) -> JhmdbScoring:
        """PCK."""
        return JhmdbScoring()

    def check(self) -> None:
        """Joints are scored at the frames' own size."""
        if self.protocol.scoring_size is not None:
            what = f"a scoring size of {self.protocol.scoring_size} for joints"
            raise ProtocolError(what, where=self.protocol.name, fix="joints are scored in the pixels of the data set")

    def frame_paths(self, item: JhmdbSequence) -> tuple[Path, ...]:
        """Every frame."""
        return item.frame_paths

    def strided(self, item: JhmdbSequence, stride: int) -> JhmdbSequence:
        """Frames and joints alike."""
        return replace(item, frame_paths=item.frame_paths[::stride], points=item.points[::stride])

    def output(self, item: JhmdbSequence) -> str:
        """A file."""
        return csv_name(item)

    def predict(self, item: JhmdbSequence, extractor: FeatureExtractor, place: Path, tick: Tick) -> None:
        """The joints of every frame."""
        points, confidence = [], []
        frames = self.frames(item.frame_paths)
        for found, certainty in propagate_keypoints(frames, {0: item.points[0]}, extractor, self.protocol):
            points.append(found)
            confidence.append(certainty)
            tick()
        write_joints(place, np.stack(points), np.stack(confidence))

    def picture(self, item: JhmdbSequence, position: int, results: Path | None) -> Frame:
        """A frame with its joints."""
        points = item.points if results is None else read_joints(results / csv_name(item))
        frame = read_image(item.frame_paths[position])
        return overlay_points(frame, points[position], names=[""] * len(JOINTS), lines=LIMBS)
