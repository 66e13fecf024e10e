"""What each kind of label is to the propagator: how it reaches the token grid, and how it comes back.

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
from kinema.propagation.keypoints import keypoints_to_soft, soft_to_keypoints
from kinema.propagation.labels import masks_to_soft, resize_mask, soft_to_mask
from kinema.protocols.registry import Protocol

_TINY = 1e-12
"""Keeps a quotient finite where an object has no token."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """(height, width) of a frame on its way through the network."""

    frame: tuple[int, int]
    """Pixels."""
    input: tuple[int, int]
    """Pixels that the network sees."""
    grid: tuple[int, int]
    """Tokens."""


@dataclass(frozen=True, eq=False, kw_only=True)
class PropagatedFrame:
    """One frame with its soft labels, before they become masks, points or maps again."""

    features: Float[Tensor, "h w D"]
    """What its tokens look for in earlier frames."""
    keys: Float[Tensor, "h w D"] | None
    """What they are found by in later ones; None where that is the same."""
    labels: Float[Tensor, "h w C"]
    similarity: Float[Tensor, "h w"]
    """How much each token resembles those that its label came from, in [-1, 1]; 1 on the first frame, and
    everywhere where products are compared, which have no scale of their own."""
    sizes: Sizes
    given: np.ndarray | None
    """The frame's own label, where it has one."""


class LabelKind(ABC):
    """One kind of label, for all the labels of one video."""

    names: Sequence[int | str]

    @abstractmethod
    def check(self, label: np.ndarray, size: tuple[int, int], number: int, *, opens: bool) -> None:
        """DatasetError where a label does not fit its frame of (H, W), or opens a video and shows nothing."""

    @abstractmethod
    def told(self, label: np.ndarray) -> list[int]:
        """The channels that a label tells about."""

    @abstractmethod
    def encode(self, label: np.ndarray, sizes: Sizes) -> Float[Tensor, "h w C"]:
        """Soft labels on the token grid."""

    @abstractmethod
    def decode(self, carried: PropagatedFrame) -> np.ndarray:
        """The label of a frame; what was given for it comes back as it was."""


class MaskKind(LabelKind):
    """Masks of objects or parts. Ids are 1 to 255, need not be contiguous, and may appear on any labeled frame."""

    def __init__(self, labels: Mapping[int, np.ndarray], protocol: Protocol) -> None:
        self._protocol = protocol
        values = (int(value) for _, mask in sorted(labels.items()) for value in np.unique(mask) if value != 0)
        self._ids = list(dict.fromkeys(values))  # by first appearance
        self.names = self._ids

    def check(self, label: np.ndarray, size: tuple[int, int], number: int, *, opens: bool) -> None:
        if label.dtype != np.uint8:
            raise DatasetError(f"a mask of type {label.dtype}", where=f"frame {number}", fix="give object ids as uint8")
        if label.shape != size:
            raise DatasetError(
                f"the mask is {label.shape[1]}x{label.shape[0]} pixels, the frame {size[1]}x{size[0]}",
                where=f"frame {number}",
                fix="draw it on the frame at its own size",
            )
        if opens and not label.any():
            raise DatasetError(
                "the mask shows no object", where=f"frame {number}", fix="give every object an id from 1 to 255"
            )

    def told(self, label: np.ndarray) -> list[int]:
        shown = set(np.unique(label).tolist())
        return [channel for channel, object_id in enumerate(self._ids, start=1) if object_id in shown]

    def encode(self, label: np.ndarray, sizes: Sizes) -> Float[Tensor, "h w C"]:
        protocol = self._protocol
        if protocol.first_labels_via == "input":
            label = resize_mask(label, sizes.input, "corner")
        return masks_to_soft(label, self._ids, sizes.grid, mode=protocol.first_labels, keep_small=protocol.keep_small)

    def decode(self, carried: PropagatedFrame) -> np.ndarray:
        """A frame's given objects as they are given; around them those that its label does not show, as carried."""
        protocol, sizes, given = self._protocol, carried.sizes, carried.given
        mask = soft_to_mask(
            carried.labels,
            self._ids,
            sizes.frame,
            via=sizes.frame if protocol.upsample_to == "frame" else sizes.input,
            min_max=protocol.min_max,
            upsample=protocol.upsample,
            to_native=protocol.to_native,
        )
        if given is None:
            return mask
        return np.where((given != 0) | np.isin(mask, np.unique(given)), given, mask)

    def confidences(self, carried: PropagatedFrame) -> Float64[np.ndarray, " names"]:
        """The mean of soft label times similarity inside each object, in [0, 1]; 0 for one that has no token."""
        soft = carried.labels[..., 1:].double()
        similar = (soft.square() * carried.similarity[..., None].clamp(0, 1)).sum(dim=(0, 1))
        return (similar / soft.sum(dim=(0, 1)).clamp(min=_TINY)).cpu().numpy()

    def distances(self, returned: PropagatedFrame, given: PropagatedFrame) -> Float64[np.ndarray, " names"]:
        """1 - IoU of each object's soft labels, in [0, 1]."""
        one, other = returned.labels[..., 1:].double(), given.labels[..., 1:].double()
        union = torch.maximum(one, other).sum(dim=(0, 1)).clamp(min=_TINY)
        return (1 - torch.minimum(one, other).sum(dim=(0, 1)) / union).cpu().numpy()


class JointKind(LabelKind):
    """Points. Labels are x and y (J, 2), NaN for a joint that the label says nothing of; decoded they are x, y and
    confidence (J, 3), NaN and 0 for a joint that is nowhere."""

    def __init__(self, names: Sequence[str], protocol: Protocol) -> None:
        self.names = list(names)
        self._settings = protocol.joints

    def check(self, label: np.ndarray, size: tuple[int, int], number: int, *, opens: bool) -> None:
        if label.shape != (len(self.names), 2) or np.isinf(label).any():
            raise DatasetError(
                f"points of shape {label.shape}",
                where=f"frame {number}",
                fix=f"give finite x and y of {len(self.names)} joints, NaN for one that is not labeled",
            )
        if opens and not self.told(label):
            raise DatasetError("no joint is labeled", where=f"frame {number}", fix="give one or more")

    def told(self, label: np.ndarray) -> list[int]:
        return (1 + np.flatnonzero(~np.isnan(label).any(axis=1))).tolist()

    def encode(self, label: np.ndarray, sizes: Sizes) -> Float[Tensor, "h w C"]:
        settings = self._settings
        return keypoints_to_soft(
            label,
            sizes.frame,
            sizes.grid,
            sigma=settings.sigma_cells,
            truncate_borders=settings.truncate_borders,
            offset=settings.offset_cells,
        )

    def decode(self, carried: PropagatedFrame) -> Float64[np.ndarray, "J 3"]:
        settings = self._settings
        options = {"sigma": settings.sigma_cells, "top_cells": settings.top_cells, "offset": settings.offset_cells}
        points, heat = soft_to_keypoints(carried.labels, carried.sizes.frame, **options)
        found = np.column_stack([points, heat * self._similarity_at(points, carried)])
        if carried.given is not None:
            told = np.asarray(self.told(carried.given), dtype=np.int64) - 1
            found[told] = np.column_stack([carried.given[told], np.ones(len(told))])
        return found

    def confidences(self, carried: PropagatedFrame) -> Float64[np.ndarray, " names"]:
        """The third column of the decoded joints."""
        return self.decode(carried)[:, 2]

    def distances(self, returned: PropagatedFrame, given: PropagatedFrame) -> Float64[np.ndarray, " names"]:
        """In pixels; NaN for a joint that is nowhere in one of the two."""
        return np.linalg.norm(self.decode(returned)[:, :2] - self.decode(given)[:, :2], axis=-1)

    def _similarity_at(self, points: np.ndarray, carried: PropagatedFrame) -> Float64[np.ndarray, " J"]:
        """The similarity of the token that each joint lies in; 0 for one that is nowhere."""
        (height, width), (h, w) = carried.sizes.frame, carried.sizes.grid
        x, y = np.nan_to_num(points).T
        column = np.clip(np.floor(x * w / width), 0, w - 1).astype(np.int64)
        row = np.clip(np.floor(y * h / height), 0, h - 1).astype(np.int64)
        similarity = carried.similarity.clamp(0, 1).double().cpu().numpy()[row, column]
        return np.where(np.isnan(points[:, 0]), 0, similarity)


class MapKind(LabelKind):
    """Float maps of any values, one value a channel and pixel; carried as token means, and smooth where decoded."""

    def __init__(self, num_channels: int) -> None:
        self.names = list(range(num_channels))

    def check(self, label: np.ndarray, size: tuple[int, int], number: int, *, opens: bool) -> None:
        if label.dtype != np.float32 or label.shape != (*size, len(self.names)):
            raise DatasetError(
                f"a map of type {label.dtype} and shape {label.shape}",
                where=f"frame {number}",
                fix=f"give float32 {(*size, len(self.names))}: height, width, channels",
            )
        if not np.isfinite(label).all():
            raise DatasetError("a map with NaN or infinite values", where=f"frame {number}", fix="give finite ones")

    def told(self, label: np.ndarray) -> list[int]:
        return list(range(1, len(self.names) + 1))

    def encode(self, label: np.ndarray, sizes: Sizes) -> Float[Tensor, "h w C"]:
        means = F.interpolate(torch.from_numpy(label).permute(2, 0, 1)[None], size=sizes.grid, mode="area")[0]
        return F.pad(means.permute(1, 2, 0), (1, 0))  # an empty background

    def decode(self, carried: PropagatedFrame) -> np.ndarray:
        if carried.given is not None:
            return carried.given
        channels = carried.labels[..., 1:].permute(2, 0, 1)[None]
        return F.interpolate(channels, size=carried.sizes.frame, mode="bilinear")[0].permute(1, 2, 0).cpu().numpy()
