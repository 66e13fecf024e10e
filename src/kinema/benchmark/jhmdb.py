"""JHMDB: propagates the first frame's joints through each clip."""

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from kinema.benchmark.scoring.jhmdb import JhmdbScoring, get_csv_name, read_joints, write_joints
from kinema.benchmark.task import Frame, Task, Tick
from kinema.datasets.jhmdb import JOINTS, LIMBS, JhmdbSequence
from kinema.errors import ProtocolError
from kinema.features import FeatureExtractor
from kinema.labeling.propagate_video import propagate_keypoints
from kinema.layouts import Benchmark
from kinema.video.images import read_image
from kinema.video.overlays import overlay_points


class JhmdbTask(Task[JhmdbSequence]):
    """JHMDB; predictions are `<clip>.csv`, a line for each frame and joint."""

    name: ClassVar[Benchmark] = "jhmdb"

    def scoring(self) -> JhmdbScoring:
        """Returns PCK."""
        return JhmdbScoring()

    def check(self) -> None:
        """Checks that the protocol scores joints at the frames' own size."""
        if self.protocol.scoring_size is not None:
            what = f"a scoring size of {self.protocol.scoring_size} for joints"
            raise ProtocolError(what, where=self.protocol.name, fix="joints are scored in the pixels of the data set")

    def frame_paths(self, item: JhmdbSequence) -> tuple[Path, ...]:
        """Returns all frames."""
        return item.frame_paths

    def subsample(self, item: JhmdbSequence, stride: int) -> JhmdbSequence:
        """Keeps the frame and the joints of every `stride`-th frame."""
        return replace(item, frame_paths=item.frame_paths[::stride], points=item.points[::stride])

    def output(self, item: JhmdbSequence) -> str:
        """Returns the name of a file."""
        return get_csv_name(item)

    def predict(self, item: JhmdbSequence, extractor: FeatureExtractor, place: Path, tick: Tick) -> None:
        """Writes the joints of every frame."""
        points, confidence = [], []
        frames = self.frames(item.frame_paths)
        propagated = propagate_keypoints(frames, {0: item.points[0]}, extractor, self.protocol)
        for frame_points, frame_confidence in propagated:
            points.append(frame_points)
            confidence.append(frame_confidence)
            tick()
        write_joints(place, np.stack(points), np.stack(confidence))

    def picture(self, item: JhmdbSequence, position: int, results: Path | None) -> Frame:
        """Draws the joints over a frame."""
        points = item.points if results is None else read_joints(results / get_csv_name(item))
        frame = read_image(item.frame_paths[position])
        return overlay_points(frame, points[position], names=[""] * len(JOINTS), lines=LIMBS)
