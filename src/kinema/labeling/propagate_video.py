"""Propagation of masks, joints or maps through a video, given a network and at least one labeled frame."""

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

_REVERSE_CHUNK = 16  # frames that are decoded at a time when going backward through a video
DEFAULT_PROTOCOL = "kinema_1"
Frames = Iterable[UInt8[np.ndarray, "H W 3"]] | np.ndarray | str | Path


def propagate(
    frames: Frames,
    labels: UInt8[np.ndarray, "H W"] | Mapping[int, UInt8[np.ndarray, "H W"]],
    extractor: FeatureExtractor,
    protocol: Protocol | str = DEFAULT_PROTOCOL,
) -> Iterator[UInt8[np.ndarray, "H W"]]:
    """Yields a mask of object ids for every frame. Only the frames of the protocol's context are held in memory.

    frames: an array (T, H, W, 3), a path, or any iterator of frames. labels: the mask of the first frame, or masks by
    frame number, which must include 0. A later mask adds the objects that are new in it and corrects those that it
    shows; both are returned as given. extractor: used with the protocol's feature settings instead of its own.
    Raises DatasetError if a mask differs in size or type from what its frame needs, if the first mask shows no object,
    and at the end if the video has no frame for a label.
    """
    chosen, given = _find_protocol(protocol), _index_by_frame(labels)
    kind = MaskKind(given, chosen)
    return (kind.decode(frame) for frame in _propagate(frames, given, kind, extractor, chosen))


def propagate_keypoints(
    frames: Frames,
    points: Float[np.ndarray, "J 2"] | Mapping[int, Float[np.ndarray, "J 2"]],
    extractor: FeatureExtractor,
    protocol: Protocol | str = DEFAULT_PROTOCOL,
) -> Iterator[tuple[Float64[np.ndarray, "J 2"], Float64[np.ndarray, " J"]]]:
    """Yields x and y of each joint in pixels, and its confidence in [0, 1], for every frame.

    points: x and y in pixels, counted from 0, of the joints of the first frame, or points by frame number, which must
    include 0. NaN marks a joint that is not labeled on that frame; a later frame may add or correct it. A given point
    is returned unchanged with confidence 1; a joint that was not found is NaN with confidence 0. The confidence is the
    share of heat that the joint keeps (`propagation.keypoints.decode_keypoints`) times the mean similarity of the
    candidates of its token. `protocol.joints` says how points become heat maps and back. `frames`, `extractor` and
    errors are as in `propagate`.
    """
    chosen, given = _find_protocol(protocol), _index_by_frame(points)
    kind = JointKind([str(number) for number in range(len(given[0]))], chosen)
    decoded = (kind.decode(frame) for frame in _propagate(frames, given, kind, extractor, chosen))
    return ((joints[:, :2], joints[:, 2]) for joints in decoded)


def propagate_maps(
    frames: Frames,
    maps: Float32[np.ndarray, "H W C"] | Mapping[int, Float32[np.ndarray, "H W C"]],
    extractor: FeatureExtractor,
    protocol: Protocol | str = DEFAULT_PROTOCOL,
) -> Iterator[Float32[np.ndarray, "H W C"]]:
    """Yields a map for every frame, in which each token has the mean value of the tokens that it resembles.

    maps: finite values for the first frame, or maps by frame number, which must include 0. A given map is returned
    unchanged; the others have the resolution of the token grid. `frames`, `extractor` and errors are as in `propagate`.
    """
    chosen, given = _find_protocol(protocol), _index_by_frame(maps)
    kind = MapKind(given[0].shape[-1])
    return (kind.decode(frame) for frame in _propagate(frames, given, kind, extractor, chosen))


def propagate_video(
    video: VideoReader,
    labels: Mapping[int, np.ndarray],
    extractor: FeatureExtractor,
    protocol: Protocol,
    *,
    kind: LabelKind | None = None,
    quality: Quality | None = None,
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields (frame number, label) for every frame: from the first labeled frame to the end, then back to frame 0.

    kind: of the labels, masks by default. quality: measures every frame on the way.
    """
    kind = MaskKind(labels, protocol) if kind is None else kind
    first = min(labels, default=0)
    if not labels or not 0 <= first <= max(labels) < video.num_frames:
        raise DatasetError(
            f"labels for frames {sorted(labels)}", where=video.name, fix=f"it has frames 0 to {video.num_frames - 1}"
        )
    for number, label in labels.items():  # all of them now, because a late one would fail after hours of work
        kind.check(label, (video.height, video.width), number, is_first=number == first)
    later_frames = (frame for index, frame in enumerate(video) if index >= first)
    later_labels = {index - first: label for index, label in labels.items()}
    forward = _propagate(later_frames, later_labels, kind, extractor, protocol)
    yield from _decode_pass(range(first, video.num_frames), forward, kind, quality)
    if first > 0:
        backward = _propagate(_read_backward(video, first), {0: labels[first]}, kind, extractor, protocol)
        numbered = _decode_pass(range(first, -1, -1), backward, kind, quality)
        next(numbered)  # the forward pass has already yielded the labeled frame
        yield from numbered


def _decode_pass(
    numbers: range, frames: Iterator[PropagatedFrame], kind: LabelKind, quality: Quality | None
) -> Iterator[tuple[int, np.ndarray]]:
    if quality is not None:
        quality.start()
    for number, frame in zip(numbers, frames, strict=True):
        if quality is not None:
            quality.measure(number, frame)
        yield number, kind.decode(frame)


def _find_protocol(protocol: Protocol | str) -> Protocol:
    return get_protocol(protocol) if isinstance(protocol, str) else protocol


def _index_by_frame(labels: np.ndarray | Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
    given = dict(labels) if isinstance(labels, Mapping) else {0: labels}
    if 0 not in given:
        raise ConfigError("the first frame has no label", where=f"labels of frames {sorted(given)}", fix="give one")
    return given


def _read_backward(video: VideoReader, first: int) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    for end in range(first, -1, -_REVERSE_CHUNK):
        yield from video.frames(range(end, max(end - _REVERSE_CHUNK, -1), -1))


def _propagate(
    frames: Frames,
    labels: Mapping[int, np.ndarray],
    kind: LabelKind,
    extractor: FeatureExtractor,
    protocol: Protocol,
) -> Iterator[PropagatedFrame]:
    """Returns an iterator over all frames with their soft labels, beginning with the first frame, which is labeled."""
    # The video is opened here and not in the generator, so that a wrong path fails in the call itself.
    opened = iter(open_video(frames)) if isinstance(frames, str | Path | np.ndarray) else frames
    return _propagate_frames(opened, labels, kind, extractor.with_settings(protocol.features), protocol)


def _propagate_frames(
    frames: Iterable[UInt8[np.ndarray, "H W 3"]],
    labels: Mapping[int, np.ndarray],
    kind: LabelKind,
    extractor: FeatureExtractor,
    protocol: Protocol,
) -> Iterator[PropagatedFrame]:
    propagator = Propagator(protocol.propagation, device=extractor.device)
    size, count = (0, 0), 0

    def record_size(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        nonlocal size
        for frame in frames:
            size = frame.shape[:2]
            yield frame

    for number, (features, keys) in enumerate(extractor.stream_queries_and_keys(record_size(frames))):
        count, given = number + 1, labels.get(number)
        grid = (features.shape[0], features.shape[1])
        sizes = Sizes(frame=size, input=extractor.input_size(*size), grid=grid)
        if given is None:
            soft = propagator.step(features, keys=keys)
        else:
            kind.check(given, size, number, is_first=number == 0)
            soft = kind.encode(given, sizes).to(extractor.device)
            if number == 0:
                propagator.start(features, soft, keys=keys)
            else:
                soft = propagator.add_reference(features, soft, channels=kind.list_channels(given), keys=keys)
        has_scale = number > 0 and protocol.propagation.similarity == "cosine"
        similarity = propagator.last_similarity if has_scale else torch.ones(grid, device=soft.device)
        yield PropagatedFrame(
            features=features, keys=keys, labels=soft, similarity=similarity, sizes=sizes, given=given
        )
    _check_all_used(labels, count)


def _check_all_used(labels: Mapping[int, np.ndarray], count: int) -> None:
    unused = sorted(number for number in labels if not 0 <= number < count)
    if unused:
        raise DatasetError(f"labels for frames {unused} of {count}", where="labels", fix="number frames from 0")
