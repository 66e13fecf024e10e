"""Frame-exact reading of video files of any container and codec, on PyAV (FFmpeg).

Frame i is the i-th presentation time in ascending order. The times come from one pass over the packets, without
decoding. A wanted frame is reached by one seek to the last keyframe shown at or before it, then forward, matching
presentation times, so random access gives what sequential decoding gives. If a container holds no trustworthy
presentation times (raw streams, B-frames in AVI, joined recordings whose clock starts again), frames are numbered by
decoding from the start.
"""

import io
from collections.abc import Collection, Iterator, Sequence
from functools import cache, cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64

from kinema.errors import DecodeError
from kinema.video.base import MAX_PIXELS, VideoReader, check_size
from kinema.video.orientation import display_matrix, orient
from kinema.video.packets import Key, PacketIndex, PacketStamp, index_packets, plan_runs

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_OPTIONS = {
    "protocol_whitelist": "file",  # with "file:", keeps a crafted name or playlist from reaching the network
    "max_pixels": str(MAX_PIXELS),  # also for the frames that FFmpeg decodes to recognize a format
}
_LISTS = frozenset(
    (
        *("concat", "dash", "hls", "image2", "image2pipe", "imf", "lavfi", "mpjpeg", "rtp", "rtp_mpegts", "rtsp"),
        *("sap", "sdp", "webm_dash_manifest"),
    )
)
"""FFmpeg's formats whose files name other files or addresses: a video must not open what it names."""


@runtime_checkable
class ByteFile(Protocol):
    """An open, seekable file of bytes."""

    def read(self, size: int, /) -> bytes: ...

    def seek(self, offset: int, whence: int, /) -> int: ...


class ContainerReader(VideoReader):
    """A video file. `fps` overrides the file's own timing; `num_threads` 0 lets FFmpeg choose.

    source: a path, or an open, seekable file of bytes, which stays open; `name` is then what messages call it.
    """

    def __init__(
        self, source: Path | ByteFile, *, name: str | None = None, fps: float | None = None, num_threads: int = 0
    ) -> None:
        self.name = name or str(source)
        self._source = source
        self._num_threads = num_threads
        self._container, self._stream = self._open()
        try:
            self._index = self._scan()
            counted = None if self._index else sum(1 for _ in self._decoded(None))
        except BaseException:
            self.close()
            raise
        self.num_frames = len(self._index.pts) if self._index else counted or 0
        if self.num_frames == 0:
            self.close()
            raise DecodeError("no frame can be decoded", where=self.name, fix="re-encode it or leave it out")
        self._fps_is_given = fps is not None
        self.fps = fps or self._own_fps()

    def close(self) -> None:
        self._container.close()

    def times_s(self, indices: Sequence[int] | np.ndarray) -> Float64[np.ndarray, " T"]:
        if self._index is None or self._fps_is_given:
            return super().times_s(indices)
        ticks = self._index.pts[self._existing(indices)] - self._index.pts[0]
        return ticks.astype(np.float64) * float(self._stream.time_base or 0)

    def __iter__(self) -> Iterator[np.ndarray]:
        own = ContainerReader(self._source, name=self.name, num_threads=self._num_threads)
        with own:
            shape: tuple[int, ...] | None = None
            for index, frame in own._collect(own._start, range(own.num_frames)):
                shape = shape or frame.shape
                own._check_same_size(index, frame, shape)
                yield frame

    def _decode(self, wanted: list[int], reduction: int) -> Iterator[tuple[int, np.ndarray]]:
        if self._index is None:
            yield from self._collect(None, wanted)
            return
        for key, run in plan_runs(self._index, wanted):
            missing = list(run)
            for index, frame in self._collect(key, run, only_needed=True):
                missing.remove(index)
                yield index, frame
            if missing:  # not every keyframe lets what follows it be decoded: then all from the start
                yield from self._collect(self._start, missing)

    @cached_property
    def _start(self) -> Key | None:
        return self._index.keys[0] if self._index else None

    def _collect(
        self, key: Key | None, wanted: Sequence[int], *, only_needed: bool = False
    ) -> Iterator[tuple[int, np.ndarray]]:
        """The wanted frames up to the first that fails; DecodeError for that one if all was decoded from the start.

        only_needed: pass over frames that are neither wanted nor referred to by others.
        """
        awaited = iter(wanted)
        index = next(awaited)
        shown = {int(self._index.pts[number]) for number in wanted} if self._index and only_needed else None
        for number, frame in self._numbered(key, shown):
            if number < index:
                continue
            if number > index or frame.is_corrupt:
                break
            yield index, _to_rgb(frame, self.name)
            following = next(awaited, None)
            if following is None:
                return
            index = following
        if key is self._start and not only_needed:
            raise DecodeError(
                f"frame {index} of {self.num_frames} is damaged", where=self.name, fix="re-encode it or leave it out"
            )

    def _numbered(self, key: Key | None, shown: Collection[int] | None) -> Iterator[tuple[int, "VideoFrame"]]:
        """Decoded frames from `key` on with their index; none where `key` turns out to be no good place to start."""
        if key is None:
            yield from enumerate(self._decoded(None))
            return
        is_trusted = key is self._start
        for frame in self._decoded(key, shown):
            if frame.pts not in self._numbers or frame.pts < key.pts:
                continue
            # a keyframe that is not shown, or not intra-coded, only begins a gradual refresh (H.264 recovery points)
            is_trusted = is_trusted or (frame.pts == key.pts and _is_intra(frame))
            if not is_trusted:
                return
            yield self._numbers[frame.pts], frame

    def _decoded(self, key: Key | None, shown: Collection[int] | None = None) -> Iterator["VideoFrame"]:
        """What the decoder gives from `key` on, or from the start; ends where the data stop making sense.

        shown: times that are wanted; of other frames the decoder may leave out those that no frame refers to.
        """
        try:
            for packet in self._packets_from(key):
                if self._skips_exactly:
                    is_needed = shown is None or packet.pts in shown
                    self._stream.codec_context.skip_frame = "DEFAULT" if is_needed else "NONREF"
                yield from packet.decode()
        except _faults():
            pass  # the frames before the damage are still inside the decoder; those that never come are named later
        try:
            yield from self._stream.codec_context.decode(None)
        except _faults():
            return

    @property
    def _skips_exactly(self) -> bool:  # every H.264 slice says whether others refer to it
        return self._stream.codec_context.name == "h264"

    def _packets_from(self, key: Key | None) -> Iterator["Packet"]:
        for target in (key.pts, key.dts) if key else ():
            if target is None:
                continue
            try:
                self._container.seek(target, stream=self._stream)
                packets = self._skip_to(key)
            except _faults():
                continue
            if packets is not None:
                return packets
        self.close()
        self._container, self._stream = self._open()
        return self._skip_to(key) or iter(())

    def _skip_to(self, key: Key | None) -> Iterator["Packet"] | None:
        """Packets from `key` on; None where the seek went past it (containers seek by decoding time, roughly)."""
        packets = (packet for packet in self._container.demux(self._stream) if packet.size)
        if key is None:
            return packets
        for packet in packets:
            position = self._key_positions.get((packet.pts, packet.dts), -1)
            if position == key.position:
                return chain([packet], packets)
            if position > key.position:
                return None
        return None

    @cached_property
    def _key_positions(self) -> dict[tuple[int | None, int | None], int]:
        return {(key.pts, key.dts): key.position for key in self._index.keys} if self._index else {}

    @cached_property
    def _numbers(self) -> dict[int, int]:
        """Index of the frame shown at each time."""
        return {int(pts): number for number, pts in enumerate(self._index.pts)} if self._index else {}

    def _scan(self) -> PacketIndex | None:
        """The index from one pass over the packets, or None where their presentation times cannot be trusted."""
        stamps: list[PacketStamp] = []
        try:
            for packet in self._container.demux(self._stream):
                if packet.size:
                    stamps.append(PacketStamp(packet.pts, packet.dts, packet.is_keyframe, packet.is_discard))
        except _faults():
            pass  # what lies before the damage is still served
        guessed_times = self._container.format.name == "avi" and self._stream.codec_context.has_b_frames
        return None if guessed_times else index_packets(stamps)

    def _open(self) -> tuple["InputContainer", "VideoStream"]:
        import av
        from av.error import ArgumentError

        source = f"file:{self._source}" if isinstance(self._source, Path) else _Handle(self._source)
        try:
            container = av.open(source, mode="r", options={**_OPTIONS, "format_whitelist": _self_contained_formats()})
        except ArgumentError as fault:  # what FFmpeg says to a format that is not in the list
            raise DecodeError(
                "a playlist or another file that names other files",
                where=self.name,
                fix="give the videos themselves, or a .txt list of them",
            ) from fault
        except _faults() as fault:
            reason = getattr(fault, "strerror", None) or str(fault)
            raise DecodeError(
                f"not a readable video: {reason}", where=self.name, fix="re-encode it or leave it out"
            ) from fault
        stream = _choose_stream(container)
        if stream is None or stream.codec_context is None:
            container.close()
            raise DecodeError(
                "no video stream that can be decoded", where=self.name, fix="give a file with pictures in it"
            )
        check_size(stream.codec_context.height, stream.codec_context.width, where=self.name)
        stream.codec_context.options = {"max_pixels": _OPTIONS["max_pixels"]}
        stream.codec_context.thread_count = self._num_threads
        stream.thread_type = "SLICE" if self._num_threads == 1 else "AUTO"
        return container, stream

    def _own_fps(self) -> float:
        """The container's mean rate if the frames' times bear it out within 1 %, else what those times say."""
        stated = float(self._stream.average_rate or self._stream.guessed_rate or 0)
        if self._index is None or self.num_frames < 2:
            # without times FFmpeg's guess is better: AVI counts the fields of H.264 in its mean rate, twice too many
            return float(self._stream.guessed_rate or 0) or stated or 30.0
        ticks = int(self._index.pts[-1] - self._index.pts[0])
        measured = (self.num_frames - 1) / (ticks * float(self._stream.time_base or 1))
        return stated if abs(stated - measured) <= 0.01 * measured else measured


class _Handle:
    """A place of its own in a file that several containers read."""

    def __init__(self, file: ByteFile) -> None:
        self._file = file
        self._position = 0

    def read(self, size: int) -> bytes:
        self._file.seek(self._position, io.SEEK_SET)
        data = self._file.read(size)
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position}.get(whence)
        self._position = offset + start if start is not None else self._file.seek(offset, whence)
        return self._position

    def tell(self) -> int:
        return self._position


def _faults() -> tuple[type[Exception], ...]:
    """What PyAV raises for damaged data: IndexError where a packet belongs to a stream that was never declared."""
    from av.error import FFmpegError

    return FFmpegError, ValueError, IndexError


@cache
def _self_contained_formats() -> str:
    """FFmpeg's names of all formats that hold their own data, with commas between them."""
    import av

    return ",".join(sorted(av.formats_available - _LISTS))


def _choose_stream(container: "InputContainer") -> "VideoStream | None":
    """The stream that FFmpeg's own tools would show, or the first that is no cover picture."""
    best = container.streams.best("video")
    streams = [stream for stream in container.streams.video if not _is_picture(stream)]
    return next(
        (stream for stream in streams if best is not None and stream.index == best.index), next(iter(streams), None)
    )


def _is_picture(stream: "VideoStream") -> bool:
    """Whether the stream is a cover picture, not a video."""
    from av.stream import Disposition

    return bool(stream.disposition & Disposition.attached_pic)


def _is_intra(frame: "VideoFrame") -> bool:
    from av.video.frame import PictureType

    return frame.pict_type not in (PictureType.P, PictureType.B)


def _to_rgb(frame: "VideoFrame", name: str) -> np.ndarray:
    """uint8 (H, W, 3), turned as the file asks for it to be displayed."""
    check_size(frame.height, frame.width, where=name)
    pixels = frame.to_ndarray(format="rgb24", threads=1)
    return np.ascontiguousarray(orient(pixels, display_matrix(frame)))
