"""Writes a shard: a WebDataset tar of JPEG frames and its index. Both are synced and read back before they count.

For each video, the tar holds `<key>.000000.jpg ...`, then `<key>.json` with path in the tree, label, fps, uneven frame
times, size and number of frames. The key is the video's number in the collection.
"""

import hashlib
import json
import posixpath
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from kinema.datasets.pack_index import ShardVideo, encode_index, parse_header
from kinema.datasets.packs import INDEX_SUFFIX, MAX_FRAME_BYTES, decode_jpeg, jpeg_size
from kinema.datasets.scan import open_item
from kinema.errors import DecodeError, KinemaError
from kinema.files import sha256_of, sync_to_disk
from kinema.tools.packing.encode import encode_jpeg, read_plain_jpeg, read_uneven_times, resize_frame
from kinema.tools.packing.pack_config import PackSettings
from kinema.tools.packing.pack_plan import Unit
from kinema.tools.packing.sources import Entry
from kinema.video.base import VideoReader

Beat = Callable[[], None]
_KEY_DIGITS = 8


def write_shard(
    unit: Unit, settings: PackSettings, beside: Path, avoided: Mapping[str, str], beat: Beat
) -> tuple[dict[str, Any], dict[str, str], dict[str, str]]:
    """Writes a shard; returns its entry in `pack.json`, paths in the pack of the written files, and reasons by name.

    The reasons are those of videos that were left out: a video that cannot be decoded to its end is left out as a
    whole. An OSError of the disk is passed on.
    """
    tar, index = Path(f"{beside}.tar"), Path(f"{beside}{INDEX_SUFFIX}")
    videos: list[ShardVideo] = []
    skipped: dict[str, str] = {}
    with tar.open("wb") as file:
        for entry in unit.entries:
            start = file.tell()
            try:
                videos.append(_add_video(file, entry, settings, avoided, beat))
            except DecodeError as fault:
                skipped[entry.name] = fault.what
                file.seek(start)
                file.truncate()
        # A tar ends with two zero blocks and fills its last record.
        file.write(bytes(-(file.tell() + 2 * tarfile.BLOCKSIZE) % tarfile.RECORDSIZE + 2 * tarfile.BLOCKSIZE))
    sync_to_disk(tar)
    encoded, header_bytes = encode_index(videos)
    index.write_bytes(encoded)
    sync_to_disk(index)
    _check_shard(tar, index, header_bytes, videos, beat)
    index_name = str(Path(unit.name).with_suffix(INDEX_SUFFIX))
    record = {
        "name": unit.name,
        "first_entry": unit.entries[0].number,
        "videos": len(videos),
        "frames": sum(len(video.frames) for video in videos),
        "bytes": tar.stat().st_size,
        "sha256": sha256_of(tar, beat),
        "index_bytes": len(encoded),
        "index_header_bytes": header_bytes,
        "index_sha256": hashlib.sha256(encoded).hexdigest(),
    }
    return record, {str(tar): unit.name, str(index): index_name}, skipped


def _add_video(
    file: BinaryIO, entry: Entry, settings: PackSettings, avoided: Mapping[str, str], beat: Beat
) -> ShardVideo:
    if entry.name in avoided:
        raise DecodeError(avoided[entry.name], where=entry.name)
    key, rows, shape = f"{entry.number:0{_KEY_DIGITS}d}", [], (0, 0)
    beat()
    with open_item(entry.item) as video:
        times_s = read_uneven_times(video)
        for index, (jpeg, height, width) in enumerate(_encode_frames(entry, video, settings)):
            shape = height, width
            if len(jpeg) > MAX_FRAME_BYTES:
                raise DecodeError(f"frame {index} takes {len(jpeg)} bytes as JPEG", where=entry.name)
            rows.append((_add_member(file, f"{key}.{index:06d}.jpg", jpeg), len(jpeg), zlib.crc32(jpeg)))
            beat()
        if len(rows) != video.num_frames:
            raise DecodeError(f"{len(rows)} of {video.num_frames} frames can be decoded", where=entry.name)
        fps = video.fps
    about = {
        "path": entry.name,
        "label": posixpath.basename(posixpath.dirname(entry.name)),
        "num_frames": len(rows),
        "fps": fps,
        "height": shape[0],
        "width": shape[1],
    }
    if times_s is not None:
        about["times_s"] = times_s.tolist()
    _add_member(file, f"{key}.json", json.dumps(about).encode())
    frames = np.array(rows, np.int64).reshape(-1, 3)
    return ShardVideo(name=entry.name, fps=fps, height=shape[0], width=shape[1], frames=frames, times_s=times_s)


def _encode_frames(entry: Entry, video: VideoReader, settings: PackSettings) -> Iterator[tuple[bytes, int, int]]:
    """Yields (JPEG, height, width) of each frame. A single image that is a JPEG is not encoded again."""
    is_image = entry.item.kind == "image"
    for frame in video:
        own = read_plain_jpeg(Path(entry.item.path)) if is_image else None
        small = frame if is_image else resize_frame(frame, settings)
        yield own or encode_jpeg(small, settings.jpeg_quality), *small.shape[:2]


def _add_member(file: BinaryIO, name: str, data: bytes) -> int:
    """Appends a member and returns the offset of its data."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    file.write(info.tobuf(tarfile.USTAR_FORMAT))
    offset = file.tell()
    file.write(data)
    file.write(bytes(-len(data) % tarfile.BLOCKSIZE))
    return offset


def _check_shard(tar: Path, index: Path, header_bytes: int, videos: list[ShardVideo], beat: Beat) -> None:
    """Finds, compares and decodes every frame of the written files. Raises KinemaError if anything differs."""
    with index.open("rb") as file:
        named = [(video.name, video.num_frames) for video in parse_header(file.read(header_bytes), where=str(index))]
    is_whole = named == [(video.name, len(video.frames)) for video in videos]
    wanted = [(*row, video.height, video.width) for video in videos for row in video.frames.tolist()]
    found = []
    with tarfile.open(tar, "r:") as archive:
        for info in archive:
            content = archive.extractfile(info)
            if content is None or not info.name.endswith(".jpg"):
                continue
            data = content.read()
            is_whole = is_whole and decode_jpeg(data, reduction=8) is not None
            found.append((info.offset_data, info.size, zlib.crc32(data), *(jpeg_size(data) or (0, 0))))
            beat()
    if not is_whole or found != wanted:
        raise KinemaError(
            "a shard does not read back as it was written", where=str(tar), fix="check disk and memory, and run again"
        )
