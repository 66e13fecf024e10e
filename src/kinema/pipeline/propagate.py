"""From a network and one labelled frame to a mask on every frame."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from kinema.errors import ConfigError, DatasetError
from kinema.features import FeatureExtractor
from kinema.propagation.labels import masks_to_soft, soft_to_mask
from kinema.propagation.propagate import Propagator
from kinema.propagation.protocols import Protocol, protocol_named
from kinema.video.base import VideoReader
from kinema.video.reader import open_video

_REVERSE_CHUNK = 16  # frames decoded at a time when going backward through a video


def propagate(
    frames: Iterable[UInt8[np.ndarray, "H W 3"]] | np.ndarray | str | Path,
    labels: UInt8[np.ndarray, "H W"] | Mapping[int, UInt8[np.ndarray, "H W"]],
    extractor: FeatureExtractor,
    protocol: Protocol | str = "dino_480p",
) -> Iterator[UInt8[np.ndarray, "H W"]]:
    """A mask of object ids for every frame, one by one; only the context that the protocol asks for is in memory.

    frames: an array (T, H, W, 3), a path, or any iterator of frames. labels: the first frame's mask, or masks by frame
    number, 0 among them; a later one opens objects that appear there, and corrects the ones it shows. A labelled frame
    comes back as it was given. extractor: read under the protocol's settings, whatever its own are.
    Raises DatasetError for a mask of another size or type than its frame, for the first without an object, and at the
    end for a label of a frame that did not come.
    """
    chosen = protocol_named(protocol) if isinstance(protocol, str) else protocol
    if isinstance(frames, str | Path | np.ndarray):
        frames = iter(open_video(frames))
    masks = dict(labels) if isinstance(labels, Mapping) else {0: labels}
    if 0 not in masks:
        raise ConfigError("the first frame has no label", where=f"labels of frames {sorted(masks)}", fix="give one")
    return _propagate(frames, masks, extractor.with_settings(chosen.features), chosen)


def propagate_video(
    video: VideoReader,
    labels: Mapping[int, UInt8[np.ndarray, "H W"]],
    extractor: FeatureExtractor,
    protocol: Protocol,
) -> Iterator[tuple[int, UInt8[np.ndarray, "H W"]]]:
    """(frame number, mask) for every frame: forward from the first labelled frame to the end, then backward to 0."""
    first = min(labels, default=0)
    if not labels or not 0 <= first <= max(labels) < video.num_frames:
        raise DatasetError(
            f"labels for frames {sorted(labels)}", where=video.name, fix=f"it has frames 0 to {video.num_frames - 1}"
        )
    for number, mask in labels.items():  # before hours of work, not after
        _check_mask(mask, (video.height, video.width), number, opens=number == first)
    onward = (frame for index, frame in enumerate(video) if index >= first)
    forward = propagate(onward, {index - first: mask for index, mask in labels.items()}, extractor, protocol)
    yield from enumerate(forward, start=first)
    if first > 0:
        backward = propagate(_backward(video, first), labels[first], extractor, protocol)
        next(backward)  # the labelled frame itself came with the forward pass
        yield from zip(range(first - 1, -1, -1), backward, strict=True)


def _backward(video: VideoReader, first: int) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    for end in range(first, -1, -_REVERSE_CHUNK):
        yield from video.frames(range(end, max(end - _REVERSE_CHUNK, -1), -1))


def _propagate(
    frames: Iterable[UInt8[np.ndarray, "H W 3"]],
    masks: dict[int, UInt8[np.ndarray, "H W"]],
    extractor: FeatureExtractor,
    protocol: Protocol,
) -> Iterator[UInt8[np.ndarray, "H W"]]:
    propagator = Propagator(protocol.propagation, device=extractor.device)
    ids: list[int] = []
    size, count = (0, 0), 0

    def resized(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        nonlocal size
        for frame in frames:
            size = frame.shape[:2]
            yield frame

    for number, features in enumerate(extractor.stream(resized(frames))):
        count = number + 1
        given = masks.get(number)
        if given is not None:
            _check_mask(given, size, number, opens=number == 0)
            ids += [int(value) for value in np.unique(given) if value != 0 and value not in ids]
            soft = masks_to_soft(
                given,
                ids,
                (features.shape[0], features.shape[1]),
                mode=protocol.first_labels,
                keep_small=protocol.keep_small,
            )
            if number == 0:
                propagator.start(features, soft)
            else:
                shown = [channel for channel, object_id in enumerate(ids, start=1) if (given == object_id).any()]
                propagator.add_reference(features, soft, channels=shown)
            yield given
            continue
        yield soft_to_mask(
            propagator.step(features),
            ids,
            size,
            via=extractor.input_size(*size),
            min_max=protocol.min_max,
            upsample=protocol.upsample,
            to_native=protocol.to_native,
        )
    _check_all_came(masks, count)


def _check_all_came(masks: Mapping[int, np.ndarray], count: int) -> None:
    absent = sorted(number for number in masks if not 0 <= number < count)
    if absent:
        raise DatasetError(f"labels for frames {absent} of {count}", where="labels", fix="number frames from 0")


def _check_mask(mask: np.ndarray, size: tuple[int, int], number: int, *, opens: bool) -> None:
    if mask.dtype != np.uint8:
        raise DatasetError(f"a mask of type {mask.dtype}", where=f"frame {number}", fix="give object ids as uint8")
    if mask.shape != size:
        raise DatasetError(
            f"the mask is {mask.shape[1]}x{mask.shape[0]} pixels, the frame {size[1]}x{size[0]}",
            where=f"frame {number}",
            fix="draw it on the frame at its own size",
        )
    if opens and not mask.any():
        raise DatasetError(
            "the mask shows no object", where=f"frame {number}", fix="give every object an id from 1 to 255"
        )
