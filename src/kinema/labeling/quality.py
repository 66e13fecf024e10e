"""How far a carried label can be trusted, frame by frame and object by object, without knowing the truth.

**Confidence**: how much of the label survived, and how well its tokens resemble those that it came from. **Drift**:
carried straight back to the frame where the object was labeled by hand, how much does the label miss what is there?
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from kinema.labeling.label_kinds import JointKind, MaskKind, PropagatedFrame
from kinema.propagation.propagator import Propagator
from kinema.protocols.registry import Protocol

_HELPED_NEXT = math.exp(-1 / 10)
"""How much of a label's help reaches the next frame; measured in `benchmarks/quality.py`."""


@dataclass(frozen=True, kw_only=True)
class QualityRow:
    """One object, part or joint in one frame."""

    frame: int
    name: int | str
    """The object's id, or the joint's name."""
    confidence: float
    """In [0, 1]; 1 where labeled by hand, 0 where the object is nowhere."""
    drift: float
    """Masks: 1 - IoU, in [0, 1]. JointKind: pixels, NaN where the joint does not come back. 0 where labeled by hand."""


class Quality:
    """Measures frames as they are carried: `start`, then `measure` for each.

    Confidence of a mask's object: sum(s² · c) / sum(s) over the tokens, where s is the object's soft label and c, cut
    to [0, 1], the mean similarity of the candidates that it came from; that is the mean of s · c inside the object.
    That of a joint: as it comes with the point (`pipeline.propagate.propagate_keypoints`).
    Drift: the frame's soft labels, as the only context, are carried in one step to the frame on which the object was
    last labeled by hand, by the same settings but without a window, since it may have moved far. MaskKind:
    1 - sum(min(a, b)) / sum(max(a, b)) over the tokens, with the object's soft label as it comes back (a) and as it was
    given (b). JointKind: distance to the given point.
    """

    def __init__(self, kind: MaskKind | JointKind, protocol: Protocol) -> None:
        self._kind = kind
        self._alone = replace(
            protocol.propagation,
            context=0,
            padding="none",
            window_covers_first=False,
            late_objects="reference",
        )
        self._labeled: dict[int, PropagatedFrame] = {}  # the latest by channel
        self._passes: list[list[int]] = []
        self._by_hand: set[int] = set()
        self._rows: dict[tuple[int, int], QualityRow] = {}  # by frame and channel

    @property
    def rows(self) -> list[QualityRow]:
        """In the order of frames, and of names."""
        return [row for _, row in sorted(self._rows.items())]

    def start(self) -> None:
        """Begins a pass through the frames, in either direction: what was labeled in another is no measure for it."""
        self._labeled.clear()
        self._passes.append([])

    def measure(self, number: int, carried: PropagatedFrame) -> None:
        """Adds the rows of frame `number`; frames come in the order of propagation.

        A frame labeled by hand has rows only of what was labeled there.
        """
        self._passes[-1].append(number)
        if carried.given is not None:
            self._by_hand.add(number)
            for channel in self._kind.told(carried.given):
                self._labeled[channel] = carried
                self._add(number, channel, 1.0, 0.0)
            return
        confidences = self._kind.confidences(carried)
        for channel, drift in self._drifts(carried).items():
            self._add(number, channel, float(confidences[channel - 1]), drift)

    def _add(self, number: int, channel: int, confidence: float, drift: float) -> None:
        name = self._kind.names[channel - 1]
        self._rows[number, channel] = QualityRow(frame=number, name=name, confidence=confidence, drift=drift)

    def find_frame_to_label(self) -> int | None:
        """The frame where a second label helps most, as far as confidence tells; None where all are labeled by hand.

        A label helps the frame and those to which it is carried from there, less and less: the frame with the largest
        sum of (1 - confidence) · exp(-distance / 10) over itself and all that follow in its direction, the mean over
        objects. The frame of least confidence itself is often the last, where a label helps no other.
        """
        confidences: dict[int, list[float]] = {}
        for row in self._rows.values():
            confidences.setdefault(row.frame, []).append(row.confidence)
        frame_to_label, most = None, 0.0
        for numbers in self._passes:
            need = 0.0
            for number in reversed(numbers):
                need = 1 - float(np.mean(confidences.get(number, [1.0]))) + _HELPED_NEXT * need
                if number not in self._by_hand and need > most:
                    frame_to_label, most = number, need
        return frame_to_label

    def _drifts(self, carried: PropagatedFrame) -> dict[int, float]:
        """By channel, of all that were labeled so far."""
        drifts: dict[int, float] = {}
        for reference in dict.fromkeys(self._labeled.values()):
            back = Propagator(self._alone, device=carried.labels.device)
            back.start(carried.features, carried.labels, keys=carried.keys)
            labels = back.step(reference.features)
            returned = replace(reference, labels=labels, similarity=back.last_similarity, given=None)
            channels = [c for c, labeled in self._labeled.items() if labeled is reference]
            distances = self._kind.distances(returned, reference)
            drifts |= {channel: float(distances[channel - 1]) for channel in channels}
        return drifts
