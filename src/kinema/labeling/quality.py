"""Estimates how far each propagated label can be trusted, per frame and object, without ground truth.

**Confidence**: how much of the label is left, and how similar its tokens are to those that it came from. **Drift**: how
much of the label is wrong after it is propagated straight back to the frame where a person labeled the object.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from kinema.labeling.label_kinds import JointKind, MaskKind, PropagatedFrame
from kinema.propagation.propagator import Propagator
from kinema.protocols.registry import Protocol

_BENEFIT_DECAY = math.exp(-1 / 10)
"""Share of a label's benefit that reaches the next frame; measured in `benchmarks/quality.py`."""


@dataclass(frozen=True, kw_only=True)
class QualityRow:
    """The quality of one object, part or joint in one frame."""

    frame: int
    name: int | str
    """The object's id or the joint's name."""
    confidence: float
    """In [0, 1]; 1 if a person labeled it here, 0 if the object was not found."""
    drift: float
    """For masks 1 - IoU, in [0, 1]; for joints pixels, NaN if the joint is not found again. 0 if a person labeled it
    here."""


class Quality:
    """Measures frames as they are propagated: call `start`, then `measure` for each frame.

    Confidence of an object: sum(s² · c) / sum(s) over the tokens, where s is the object's soft label and c the mean
    similarity of the candidates that it came from, clipped to [0, 1]. This is the mean of s · c inside the object. The
    confidence of a joint is that of `propagate_video.propagate_keypoints`.
    Drift: the frame's soft labels are propagated in one step to the frame on which a person last labeled the object.
    They are the only context, and there is no window, since the object may have moved far; other settings are the same.
    For masks, drift is 1 - sum(min(a, b)) / sum(max(a, b)) over the tokens, with the soft label that came back (a) and
    the given one (b). For joints, it is the distance to the given point.
    """

    def __init__(self, kind: MaskKind | JointKind, protocol: Protocol) -> None:
        self._kind = kind
        self._back_config = replace(
            protocol.propagation,
            context=0,
            padding="none",
            window_covers_first=False,
            late_objects="reference",
        )
        self._labeled: dict[int, PropagatedFrame] = {}  # by channel: the latest frame that a person labeled
        self._passes: list[list[int]] = []
        self._labeled_numbers: set[int] = set()
        self._rows: dict[tuple[int, int], QualityRow] = {}  # by frame and channel

    @property
    def rows(self) -> list[QualityRow]:
        """All rows, sorted by frame and then in the order of names."""
        return [row for _, row in sorted(self._rows.items())]

    def start(self) -> None:
        """Begins a pass through the frames in either direction, which forgets the labeled frames of an earlier pass."""
        self._labeled.clear()
        self._passes.append([])

    def measure(self, number: int, frame: PropagatedFrame) -> None:
        """Adds the rows of frame `number`. Frames must come in the order of propagation.

        If a person labeled the frame, it has rows only for what they labeled there.
        """
        self._passes[-1].append(number)
        if frame.given is not None:
            self._labeled_numbers.add(number)
            for channel in self._kind.list_channels(frame.given):
                self._labeled[channel] = frame
                self._add_row(number, channel, 1.0, 0.0)
            return
        confidences = self._kind.compute_confidences(frame)
        for channel, drift in self._compute_drifts(frame).items():
            self._add_row(number, channel, float(confidences[channel - 1]), drift)

    def _add_row(self, number: int, channel: int, confidence: float, drift: float) -> None:
        name = self._kind.names[channel - 1]
        self._rows[number, channel] = QualityRow(frame=number, name=name, confidence=confidence, drift=drift)

    def find_frame_to_label(self) -> int | None:
        """Returns the frame where a second label should help most, or None if a person has labeled every frame.

        A label helps its own frame and, less and less, the frames to which it is propagated from there. The frame with
        the largest sum of (1 - confidence) · exp(-distance / 10) over itself and all later frames of its pass is
        returned, with confidence averaged over objects. The frame with the least confidence is often the last, where a
        label helps no other frame.
        """
        confidences: dict[int, list[float]] = {}
        for row in self._rows.values():
            confidences.setdefault(row.frame, []).append(row.confidence)
        frame_to_label, largest_need = None, 0.0
        for numbers in self._passes:
            need = 0.0
            for number in reversed(numbers):
                need = 1 - float(np.mean(confidences.get(number, [1.0]))) + _BENEFIT_DECAY * need
                if number not in self._labeled_numbers and need > largest_need:
                    frame_to_label, largest_need = number, need
        return frame_to_label

    def _compute_drifts(self, frame: PropagatedFrame) -> dict[int, float]:
        """Returns the drift of every channel that was labeled so far."""
        drifts: dict[int, float] = {}
        for reference in dict.fromkeys(self._labeled.values()):
            back = Propagator(self._back_config, device=frame.labels.device)
            back.start(frame.features, frame.labels, keys=frame.keys)
            labels = back.step(reference.features)
            returned = replace(reference, labels=labels, similarity=back.last_similarity, given=None)
            channels = [c for c, labeled in self._labeled.items() if labeled is reference]
            distances = self._kind.compute_distances(returned, reference)
            drifts |= {channel: float(distances[channel - 1]) for channel in channels}
        return drifts
