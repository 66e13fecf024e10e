"""The kinds of labels (masks, joints, maps): how each is encoded for the propagator and decoded afterward.

Channel 0 of the soft labels is the background; channel n + 1 is `names[n]`. Labels are arrays: masks uint8 (H, W) of
object ids, joints (J, 2) of x and y in pixels, maps float32 (H, W, C) of any values.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64
from torch import Tensor

from kinema.errors import DatasetError
from kinema.propagation.keypoints import decode_keypoints, encode_keypoints
from kinema.propagation.labels import decode_mask, encode_mask, resize_mask
from kinema.protocols.registry import Protocol

_TINY = 1e-12
"""Keeps a quotient finite if an object has no token."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The (height, width) of a frame at each stage of the network."""

    frame: tuple[int, int]
    """Pixels of the original frame."""
    input: tuple[int, int]
    """Pixels of the network's input."""
    grid: tuple[int, int]
    """Tokens."""


@dataclass(frozen=True, eq=False, kw_only=True)
class PropagatedFrame:
    """One frame with its soft labels, which a `LabelKind` decodes to a mask, joints or a map."""

    features: Float[Tensor, "h w D"]
    """What its tokens are compared with earlier frames by."""
    keys: Float[Tensor, "h w D"] | None
    """What later frames find its tokens by; None if the same as the features."""
    labels: Float[Tensor, "h w C"]
    similarity: Float[Tensor, "h w"]
    """Mean similarity between each token and the tokens that its label came from, in [-1, 1]. It is 1 on the first
    frame, and everywhere if dot products are compared, because they have no fixed scale."""
    sizes: Sizes
    given: np.ndarray | None
    """The label that a person gave for this frame, if any."""


class LabelKind(ABC):
    """One kind of label, with the names of all objects, joints or channels of one video."""

    names: Sequence[int | str]

    @abstractmethod
    def check(self, label: np.ndarray, size: tuple[int, int], number: int, *, is_first: bool) -> None:
        """Raises DatasetError if a label does not fit its frame of size (H, W), or if the first label is empty."""

    @abstractmethod
    def list_channels(self, label: np.ndarray) -> list[int]:
        """Returns the channels of the soft labels that a label describes."""

    @abstractmethod
    def encode(self, label: np.ndarray, sizes: Sizes) -> Float[Tensor, "h w C"]:
        """Returns soft labels on the token grid."""

    @abstractmethod
    def decode(self, frame: PropagatedFrame) -> np.ndarray:
        """Returns the label of a frame. What a person gave for it is returned unchanged."""


class MaskKind(LabelKind):
    """Masks of objects or parts. Ids lie in 1 to 255, may have gaps, and may first appear on any labeled frame."""

    def __init__(self, labels: Mapping[int, np.ndarray], protocol: Protocol) -> None:
        self._protocol = protocol
        values = (int(value) for _, mask in sorted(labels.items()) for value in np.unique(mask) if value != 0)
        self._ids = list(dict.fromkeys(values))  # in the order of first appearance
        self.names = self._ids

    def check(self, label: np.ndarray, size: tuple[int, int], number: int, *, is_first: bool) -> None:
        if label.dtype != np.uint8:
            raise DatasetError(f"a mask of type {label.dtype}", where=f"frame {number}", fix="give object ids as uint8")
        if label.shape != size:
            raise DatasetError(
                f"the mask is {label.shape[1]}x{label.shape[0]} pixels, the frame {size[1]}x{size[0]}",
                where=f"frame {number}",
                fix="draw it on the frame at its own size",
            )
        if is_first and not label.any():
            raise DatasetError(
                "the mask shows no object", where=f"frame {number}", fix="give every object an id from 1 to 255"
            )

    def list_channels(self, label: np.ndarray) -> list[int]:
        shown = set(np.unique(label).tolist())
        return [channel for channel, object_id in enumerate(self._ids, start=1) if object_id in shown]

    def encode(self, label: np.ndarray, sizes: Sizes) -> Float[Tensor, "h w C"]:
        protocol = self._protocol
        if protocol.first_labels_via == "input":
            label = resize_mask(label, sizes.input, "corner")
        return encode_mask(label, self._ids, sizes.grid, mode=protocol.first_labels, keep_small=protocol.keep_small)

    def decode(self, frame: PropagatedFrame) -> np.ndarray:
        """Returns the mask of a frame: the given objects as drawn, and around them the propagated other objects."""
        protocol, sizes, given = self._protocol, frame.sizes, frame.given
        mask = decode_mask(
            frame.labels,
            self._ids,
            sizes.frame,
            via=sizes.frame if protocol.upsample_to == "frame" else sizes.input,
            min_max=protocol.min_max,
            upsample=protocol.upsample,
            to_native=protocol.to_native,
        )
        if given is None:
            return mask
        # The drawing shows all of a given object, so its propagated pixels outside the drawing are cleared.
        return np.where((given != 0) | np.isin(mask, np.unique(given)), given, mask)

    def compute_confidences(self, frame: PropagatedFrame) -> Float64[np.ndarray, " names"]:
        """Returns the mean of soft label times similarity inside each object, in [0, 1]; 0 if it has no token."""
        soft = frame.labels[..., 1:].double()
        similar = (soft.square() * frame.similarity[..., None].clamp(0, 1)).sum(dim=(0, 1))
        return (similar / soft.sum(dim=(0, 1)).clamp(min=_TINY)).cpu().numpy()

    def compute_distances(self, returned: PropagatedFrame, given: PropagatedFrame) -> Float64[np.ndarray, " names"]:
        """Returns 1 - IoU of each object's soft labels, in [0, 1]."""
        one, other = returned.labels[..., 1:].double(), given.labels[..., 1:].double()
        union = torch.maximum(one, other).sum(dim=(0, 1)).clamp(min=_TINY)
        return (1 - torch.minimum(one, other).sum(dim=(0, 1)) / union).cpu().numpy()


class JointKind(LabelKind):
    """Joints. Labels are x and y, (J, 2), with NaN for a joint that is not labeled on this frame. Decoded labels are x,
    y and confidence, (J, 3), with NaN, NaN and 0 for a joint that was not found."""

    def __init__(self, names: Sequence[str], protocol: Protocol) -> None:
        self.names = list(names)
        self._settings = protocol.joints

    def check(self, label: np.ndarray, size: tuple[int, int], number: int, *, is_first: bool) -> None:
        if label.shape != (len(self.names), 2) or np.isinf(label).any():
            raise DatasetError(
                f"points of shape {label.shape}",
                where=f"frame {number}",
                fix=f"give finite x and y of {len(self.names)} joints, NaN for one that is not labeled",
            )
        if is_first and not self.list_channels(label):
            raise DatasetError("no joint is labeled", where=f"frame {number}", fix="give one or more")

    def list_channels(self, label: np.ndarray) -> list[int]:
        return (1 + np.flatnonzero(~np.isnan(label).any(axis=1))).tolist()

    def encode(self, label: np.ndarray, sizes: Sizes) -> Float[Tensor, "h w C"]:
        settings = self._settings
        return encode_keypoints(
            label,
            sizes.frame,
            sizes.grid,
            sigma=settings.sigma_cells,
            truncate_borders=settings.truncate_borders,
            offset=settings.offset_cells,
        )

    def decode(self, frame: PropagatedFrame) -> Float64[np.ndarray, "J 3"]:
        settings = self._settings
        options = {"sigma": settings.sigma_cells, "top_cells": settings.top_cells, "offset": settings.offset_cells}
        points, heat = decode_keypoints(frame.labels, frame.sizes.frame, **options)
        joints = np.column_stack([points, heat * self._sample_similarity(points, frame)])
        if frame.given is not None:
            given_ids = np.asarray(self.list_channels(frame.given), dtype=np.int64) - 1
            joints[given_ids] = np.column_stack([frame.given[given_ids], np.ones(len(given_ids))])
        return joints

    def compute_confidences(self, frame: PropagatedFrame) -> Float64[np.ndarray, " names"]:
        """Returns the third column of the decoded joints."""
        return self.decode(frame)[:, 2]

    def compute_distances(self, returned: PropagatedFrame, given: PropagatedFrame) -> Float64[np.ndarray, " names"]:
        """Returns distances in pixels; NaN for a joint that was not found in one of the two frames."""
        return np.linalg.norm(self.decode(returned)[:, :2] - self.decode(given)[:, :2], axis=-1)

    def _sample_similarity(self, points: np.ndarray, frame: PropagatedFrame) -> Float64[np.ndarray, " J"]:
        """Returns the similarity of the token that contains each joint; 0 for a joint that was not found."""
        (height, width), (h, w) = frame.sizes.frame, frame.sizes.grid
        x, y = np.nan_to_num(points).T
        column = np.clip(np.floor(x * w / width), 0, w - 1).astype(np.int64)
        row = np.clip(np.floor(y * h / height), 0, h - 1).astype(np.int64)
        similarity = frame.similarity.clamp(0, 1).double().cpu().numpy()[row, column]
        return np.where(np.isnan(points[:, 0]), 0, similarity)


class MapKind(LabelKind):
    """Float maps with any values, (H, W, C). They are propagated as token means, so decoded maps are smooth."""

    def __init__(self, num_channels: int) -> None:
        self.names = list(range(num_channels))

    def check(self, label: np.ndarray, size: tuple[int, int], number: int, *, is_first: bool) -> None:
        if label.dtype != np.float32 or label.shape != (*size, len(self.names)):
            raise DatasetError(
                f"a map of type {label.dtype} and shape {label.shape}",
                where=f"frame {number}",
                fix=f"give float32 {(*size, len(self.names))}: height, width, channels",
            )
        if not np.isfinite(label).all():
            raise DatasetError("a map with NaN or infinite values", where=f"frame {number}", fix="give finite ones")

    def list_channels(self, label: np.ndarray) -> list[int]:
        return list(range(1, len(self.names) + 1))

    def encode(self, label: np.ndarray, sizes: Sizes) -> Float[Tensor, "h w C"]:
        means = F.interpolate(torch.from_numpy(label).permute(2, 0, 1)[None], size=sizes.grid, mode="area")[0]
        return F.pad(means.permute(1, 2, 0), (1, 0))  # channel 0 is an empty background

    def decode(self, frame: PropagatedFrame) -> np.ndarray:
        if frame.given is not None:
            return frame.given
        channels = frame.labels[..., 1:].permute(2, 0, 1)[None]
        return F.interpolate(channels, size=frame.sizes.frame, mode="bilinear")[0].permute(1, 2, 0).cpu().numpy()
