"""From a network and one labeled frame to a label on every frame: one engine under masks, joints and maps."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, UInt8

from kinema.errors import ConfigError, DatasetError
from kinema.features import FeatureExtractor
from kinema.labeling.label_kinds import JointKind, LabelKind, MapKind, MaskKind, PropagatedFrame, Sizes
from kinema.labeling.quality import Quality
from kinema.propagation.propagator import Propagator
from kinema.protocols.registry import Protocol, get_protocol
from kinema.video.base import VideoReader
from kinema.video.reader import open_video

_REVERSE_CHUNK = 16  # frames decoded at a time when going backward through a video
DEFAULT_PROTOCOL = "kinema_1"
Frames = Iterable[UInt8[np.ndarray, "H W 3"]] | np.ndarray | str | Path


def propagate(
    frames: Frames,
    labels: UInt8[np.ndarray, "H W"] | Mapping[int, UInt8[np.ndarray, "H W"]],
    extractor: FeatureExtractor,
    protocol: Protocol | str = DEFAULT_PROTOCOL,
) -> Iterator[UInt8[np.ndarray, "H W"]]:
    """A mask of object ids for every frame, one by one; only the context that the protocol asks for is in memory.

    frames: an array (T, H, W, 3), a path, or any iterator of frames. labels: the first frame's mask, or masks by frame
    number, 0 among them; a later one opens objects that appear there, and corrects the ones it shows; these come
    back as they were given. extractor: read under the protocol's settings, whatever its own are.
    Raises DatasetError for a mask of another size or type than its frame, for the first without an object, and at the
    end for a label of a frame that did not come.
    """
    chosen, given = _protocol(protocol), _by_frame(labels)
    kind = MaskKind(given, chosen)
    return (kind.decode(carried) for carried in _carry(frames, given, kind, extractor, chosen))


def propagate_keypoints(
    frames: Frames,
    points: Float[np.ndarray, "J 2"] | Mapping[int, Float[np.ndarray, "J 2"]],
    extractor: FeatureExtractor,
    protocol: Protocol | str = DEFAULT_PROTOCOL,
) -> Iterator[tuple[Float64[np.ndarray, "J 2"], Float64[np.ndarray, " J"]]]:
    """Where each joint is, x and y in pixels, and its confidence in [0, 1], for every frame, one by one.

    points: x and y in pixels, counted from 0, of the first frame's joints, or by frame number, 0 among them; NaN for a
    joint that is not labeled there, which a later frame may open or correct. A given point comes back as it was, with
    confidence 1; a joint that is nowhere is NaN, with confidence 0. How points become heat maps and come back is
    `protocol.joints`. The confidence is the heat in the joint's cells, as a share of what a given joint has there
    (`propagation.keypoints.soft_to_keypoints`), times the mean similarity of the candidates of the token that it lies
    in. `frames`, `extractor` and errors as in `propagate`.
    """
    chosen, given = _protocol(protocol), _by_frame(points)
    kind = JointKind([str(number) for number in range(len(given[0]))], chosen)
    decoded = (kind.decode(carried) for carried in _carry(frames, given, kind, extractor, chosen))
    return ((joints[:, :2], joints[:, 2]) for joints in decoded)


def propagate_maps(
    frames: Frames,
    maps: Float32[np.ndarray, "H W C"] | Mapping[int, Float32[np.ndarray, "H W C"]],
    extractor: FeatureExtractor,
    protocol: Protocol | str = DEFAULT_PROTOCOL,
) -> Iterator[Float32[np.ndarray, "H W C"]]:
    """Maps of any values for every frame, one by one: a token takes the mean values of the tokens it resembles.

    maps: of the first frame, or by frame number, 0 among them; finite. A given map comes back as it was; others are as
    fine as the token grid. `frames`, `extractor` and errors as in `propagate`.
    """
    chosen, given = _protocol(protocol), _by_frame(maps)
    kind = MapKind(given[0].shape[-1])
    return (kind.decode(carried) for carried in _carry(frames, given, kind, extractor, chosen))


def propagate_video(
    video: VideoReader,
    labels: Mapping[int, np.ndarray],
    extractor: FeatureExtractor,
    protocol: Protocol,
    *,
    kind: LabelKind | None = None,
    quality: Quality | None = None,
) -> Iterator[tuple[int, np.ndarray]]:
    """(frame number, label) for every frame: forward from the first labeled frame to the end, then backward to 0.

    kind: of the labels, masks by default. quality: is told of every frame.
    """
    kind = MaskKind(labels, protocol) if kind is None else kind
    first = min(labels, default=0)
    if not labels or not 0 <= first <= max(labels) < video.num_frames:
        raise DatasetError(
            f"labels for frames {sorted(labels)}", where=video.name, fix=f"it has frames 0 to {video.num_frames - 1}"
        )
    for number, label in labels.items():  # before hours of work, not after
        kind.check(label, (video.height, video.width), number, opens=number == first)
    onward = (frame for index, frame in enumerate(video) if index >= first)
    forward = _carry(onward, {index - first: label for index, label in labels.items()}, kind, extractor, protocol)
    yield from _decoded(range(first, video.num_frames), forward, kind, quality)
    if first > 0:
        backward = _carry(_backward(video, first), {0: labels[first]}, kind, extractor, protocol)
        numbered = _decoded(range(first, -1, -1), backward, kind, quality)
        next(numbered)  # the labeled frame itself came with the forward pass
        yield from numbered


def _decoded(
    numbers: range, carrying: Iterator[PropagatedFrame], kind: LabelKind, quality: Quality | None
) -> Iterator[tuple[int, np.ndarray]]:
    if quality is not None:
        quality.start()
    for number, carried in zip(numbers, carrying, strict=True):
        if quality is not None:
            quality.measure(number, carried)
        yield number, kind.decode(carried)


def _protocol(protocol: Protocol | str) -> Protocol:
    return get_protocol(protocol) if isinstance(protocol, str) else protocol


def _by_frame(labels: np.ndarray | Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
    given = dict(labels) if isinstance(labels, Mapping) else {0: labels}
    if 0 not in given:
        raise ConfigError("the first frame has no label", where=f"labels of frames {sorted(given)}", fix="give one")
    return given


def _backward(video: VideoReader, first: int) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    for end in range(first, -1, -_REVERSE_CHUNK):
        yield from video.frames(range(end, max(end - _REVERSE_CHUNK, -1), -1))


def _carry(
    frames: Frames,
    labels: Mapping[int, np.ndarray],
    kind: LabelKind,
    extractor: FeatureExtractor,
    protocol: Protocol,
) -> Iterator[PropagatedFrame]:
    """Every frame with its soft labels: forward, from the first frame, which is labeled."""
    opened = iter(open_video(frames)) if isinstance(frames, str | Path | np.ndarray) else frames
    return _carried(opened, labels, kind, extractor.with_settings(protocol.features), protocol)


def _carried(
    frames: Iterable[UInt8[np.ndarray, "H W 3"]],
    labels: Mapping[int, np.ndarray],
    kind: LabelKind,
    extractor: FeatureExtractor,
    protocol: Protocol,
) -> Iterator[PropagatedFrame]:
    propagator = Propagator(protocol.propagation, device=extractor.device)
    size, count = (0, 0), 0

    def sized(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        nonlocal size
        for frame in frames:
            size = frame.shape[:2]
            yield frame

    for number, (features, keys) in enumerate(extractor.stream_queries_and_keys(sized(frames))):
        count, given = number + 1, labels.get(number)
        grid = (features.shape[0], features.shape[1])
        sizes = Sizes(frame=size, input=extractor.input_size(*size), grid=grid)
        if given is None:
            soft = propagator.step(features, keys=keys)
        else:
            kind.check(given, size, number, opens=number == 0)
            soft = kind.encode(given, sizes).to(extractor.device)
            if number == 0:
                propagator.start(features, soft, keys=keys)
            else:
                soft = propagator.add_reference(features, soft, channels=kind.told(given), keys=keys)
        has_scale = number > 0 and protocol.propagation.similarity == "cosine"
        similarity = propagator.last_similarity if has_scale else torch.ones(grid, device=soft.device)
        yield PropagatedFrame(
            features=features, keys=keys, labels=soft, similarity=similarity, sizes=sizes, given=given
        )
    _check_all_came(labels, count)


def _check_all_came(labels: Mapping[int, np.ndarray], count: int) -> None:
    absent = sorted(number for number in labels if not 0 <= number < count)
    if absent:
        raise DatasetError(f"labels for frames {absent} of {count}", where="labels", fix="number frames from 0")
