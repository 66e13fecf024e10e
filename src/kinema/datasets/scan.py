"""What there is to learn from: videos, folders of frames, packs and archives found in folders, lists and manifests."""

import csv
import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kinema.datasets import manifest, tars
from kinema.datasets import packs as shards
from kinema.errors import DatasetError, counted
from kinema.layouts import FRAMES, MASKS
from kinema.tools.synthetic.clip_address import NumberedClip, is_clip_address, parse_clip_address
from kinema.tools.synthetic.clip_reader import GeneratedClip
from kinema.video.base import Decoder, VideoReader
from kinema.video.images import IMAGE_SUFFIXES
from kinema.video.reader import FRAMES_FILE, open_video

VIDEO_SUFFIXES = frozenset(
    (
        *(".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts"),
        *(".ogg", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m"),
    )
)
LIST_SUFFIXES = frozenset({".txt", ".csv", ".jsonl"})
PATH_COLUMNS = ("path", "file_name", "filename", "video")
"""Names of the column, or of the JSON field, that holds the paths of a list."""

Kind = Literal["video", "frames", "image", "packed", "tar", "generated"]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class MediaItem:
    """One source of training clips."""

    path: Path | str
    """Of the file or folder; for a video inside a pack or an archive, of those; a URL is a str."""
    kind: Kind
    """A video file, a folder of frames, a single image, a video in a pack of shards, one in a tar archive, or a clip
    that is rendered when it is read."""
    entry: shards.PackedVideo | tars.TarMember | NumberedClip | None = None
    """Where the video lies inside its pack or archive, or which clip of its address it is."""
    label: int | None = None
    """Its class, where one is known."""

    @property
    def name(self) -> str:
        """What messages and ids call it: its path, followed by # and the name inside a pack or an archive."""
        return str(self.path) if self.entry is None else f"{self.path}#{self.entry.name}"


def scan(sources: Sequence[str | Path], *, exclude: Sequence[str | Path] = (), images: bool = False) -> list[MediaItem]:
    """Every video and frame folder in `sources` but not in `exclude`: sorted by name, each once.

    A source is one of these:
    - a video file, or a folder: searched through, hidden names are passed over. A folder that directly holds at least
      two images and no video is one folder of frames; other images are passed over and counted, and so are the
      masks of DAVIS, YouTube-VOS and VIP: `Annotations` beside their frames.
    - a list: `.txt`, `.csv` or `.jsonl`, one path a line, relative to the list; `#` starts a comment. Of a `.txt` line
      the whole counts, or its first word where the whole names nothing; of the others the column or field named in
      `PATH_COLUMNS`, else a CSV's first column.
    - a manifest of `kinema doctor`: files with a problem and duplicates are left out and counted.
    - `synth:LEVEL?clips=N`, clips that are rendered while they are read (`tools.synthetic.clip_address`).
    - a pack of shards, `PACK#LIST` for the videos of it that a list in it names, or a tar archive of videos; also at a
      URL. Archives in a folder count where it holds nothing else.
    images: take single images as well, each image of a folder without `frames.json` for itself.
    DatasetError where a source or a listed path is not there, or nothing is left.
    """
    walk = _Walk(images=images)
    found: dict[str, MediaItem] = {}
    for source in sources:
        for place, item in walk.source(source):
            found.setdefault(place, item)
    banned = {_place(path) for source in exclude for path in _listed(source)}
    kept = [item for place, item in found.items() if not _is_under(place, banned)]
    walk.report()
    if not kept:
        counts = (
            (len(found), "video", " excluded"),
            (walk.seen["image"], "single image", ""),
            (walk.seen["unusable"], "file", " unusable or double"),
            (walk.seen["other"], "other file", ""),
        )
        saw = ", ".join(counted(count, what) + more for count, what, more in counts if count) or "nothing"
        raise DatasetError(
            f"no video found, saw {saw}",
            where=", ".join(map(str, sources)),
            fix=f"give folders, files or lists of {' '.join(sorted(VIDEO_SUFFIXES))}, or folders of frames",
        )
    return sorted(kept, key=lambda item: item.name)


def open_item(item: MediaItem, *, decoder: Decoder = "pyav", epoch: int = 0) -> VideoReader:
    """A reader of the item that keeps to one thread: the workers are what runs side by side.

    epoch: which of a generated item's clips to render; every epoch has new ones. Means nothing to other items.
    """
    if isinstance(item.entry, shards.PackedVideo):
        return shards.open_packed(item.entry)
    if isinstance(item.entry, tars.TarMember):
        return tars.open_tar_member(item.entry)
    if isinstance(item.entry, NumberedClip):
        return GeneratedClip(item.entry.address, epoch * item.entry.address.clips + item.entry.number)
    return open_video(item.path, num_threads=1, decoder=decoder)


class _Walk:
    """Goes through sources; finds are (place, item), a place being the same however a file is named."""

    def __init__(self, *, images: bool) -> None:
        self.seen: Counter[str] = Counter()
        self._takes_images = images

    def report(self) -> None:
        if self.seen["image"]:
            images = counted(self.seen["image"], "single image")
            _log.info("%s passed over; --data.images True learns from them too", images)
        if self.seen["masks"]:
            _log.info("%s of masks passed over: %s beside frames", counted(self.seen["masks"], "folder"), MASKS)
        if self.seen["unusable"]:
            files = counted(self.seen["unusable"], "file")
            _log.info("%s passed over, which the manifest calls unusable or double", files)

    def source(self, source: str | Path) -> Iterator[tuple[str, MediaItem]]:
        for path in _listed(source):
            if isinstance(path, Path) and manifest.is_manifest(path):
                yield from self._manifest(path)
            else:
                yield from self._single(path)

    def _single(self, path: Path | str) -> Iterator[tuple[str, MediaItem]]:
        if is_clip_address(path):
            yield from _generated(str(path))
        elif tars.is_tar(path):
            yield from _archived(path)
        elif shards.is_pack(path):
            yield from _packed(path)
        elif isinstance(path, str):
            raise DatasetError("no pack and no tar archive there", where=path, fix="pack the data with `kinema pack`")
        elif path.is_dir():
            yield from self._folder(path, os.path.realpath(path), set())
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            yield from self._images([(os.path.realpath(path), path)])
        else:
            yield os.path.realpath(path), MediaItem(path=path, kind="video")

    def _manifest(self, file: Path) -> Iterator[tuple[str, MediaItem]]:
        for record in manifest.read_manifest(file):
            path = file.parent / record.path
            if record.problem is not None or record.duplicate_of is not None:
                self.seen["unusable"] += 1
            elif record.kind == "image":
                yield from self._images([(os.path.realpath(path), path)])
            else:
                yield os.path.realpath(path), MediaItem(path=path, kind=record.kind)

    def _folder(self, folder: Path, real: str, visited: set[str]) -> Iterator[tuple[str, MediaItem]]:
        if real in visited:  # a link back to a folder that holds it
            return
        visited.add(real)
        entries = _entries(folder)
        files = [entry for entry in entries if not entry.is_dir()]
        videos = [entry for entry in files if _suffix(entry) in VIDEO_SUFFIXES]
        # beside what was unpacked from it, an archive would only hold everything twice
        archives = [entry for entry in files if _suffix(entry) == ".tar"] if not videos and files == entries else []
        images = [entry for entry in files if _suffix(entry) in IMAGE_SUFFIXES]
        self.seen["other"] += len(files) - len(videos) - len(archives) - len(images)
        is_clip = len(images) >= 2 and not videos
        if is_clip and not (self._takes_images and all(entry.name != FRAMES_FILE for entry in files)):
            yield real, MediaItem(path=folder, kind="frames")
        else:
            yield from self._images([(_real(entry, real), folder / entry.name) for entry in images])
        for entry in videos:
            yield _real(entry, real), MediaItem(path=folder / entry.name, kind="video")
        for entry in archives:
            yield from _archived(folder / entry.name)
        names = {entry.name for entry in entries}
        for entry in entries:
            if entry.name == MASKS and names.intersection(FRAMES):
                self.seen["masks"] += 1
            elif entry.is_dir() and shards.is_pack(folder / entry.name):
                yield from _packed(folder / entry.name)
            elif entry.is_dir():
                yield from self._folder(folder / entry.name, _real(entry, real), visited)

    def _images(self, images: Iterable[tuple[str, Path]]) -> Iterator[tuple[str, MediaItem]]:
        for place, path in images:
            if self._takes_images:
                yield place, MediaItem(path=path, kind="image")
            else:
                self.seen["image"] += 1


def _packed(source: Path | str) -> Iterator[tuple[str, MediaItem]]:
    for video in shards.read_pack(source):
        yield f"{_place(video.pack)}/{video.name}", MediaItem(path=video.pack, kind="packed", entry=video)


def _archived(source: Path | str) -> Iterator[tuple[str, MediaItem]]:
    for member in tars.read_tar(source):
        yield f"{_place(source)}/{member.name}", MediaItem(path=source, kind="tar", entry=member)


def _generated(source: str) -> Iterator[tuple[str, MediaItem]]:
    address = parse_clip_address(source)
    for number in range(address.clips):
        clip = NumberedClip(address=address, number=number)
        yield f"{source}#{number}", MediaItem(path=source, kind="generated", entry=clip)


def _entries(folder: Path) -> list[os.DirEntry]:
    try:
        return sorted((entry for entry in os.scandir(folder) if entry.name[0] != "."), key=lambda entry: entry.name)
    except OSError as fault:
        raise DatasetError(
            f"unreadable folder: {fault.strerror}", where=str(folder), fix="change its rights"
        ) from fault


def _suffix(entry: os.DirEntry) -> str:
    return os.path.splitext(entry.name)[1].lower()


def _real(entry: os.DirEntry, real_folder: str) -> str:
    return os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(real_folder, entry.name)


def _place(path: Path | str) -> str:
    return path if isinstance(path, str) and ("://" in path or is_clip_address(path)) else os.path.realpath(path)


def _is_under(place: str, banned: set[str]) -> bool:
    while place and place not in banned:
        place = place.rpartition("/")[0]
    return bool(place)


def _listed(source: str | Path) -> list[Path | str]:
    """The paths that a source stands for: the lines of a list, or itself; a URL stays a str."""
    if isinstance(source, str) and ("://" in source or is_clip_address(source)):
        return [source]
    path = Path(source)
    if not path.exists() and shards.is_pack(source):  # PACK#LIST
        return [str(source)]
    if not path.exists():
        raise DatasetError("no such file or folder", where=str(source), fix="check the path")
    if path.is_dir() or path.suffix.lower() not in LIST_SUFFIXES or manifest.is_manifest(path):
        return [path]
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as fault:
        raise DatasetError("not a text file", where=str(source), fix="give a list with one path a line") from fault
    numbered = [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
    numbered = [(number, line) for number, line in numbered if line[0] != "#"]
    return [_listed_path(names, path, number) for number, names in _names(path, numbered)]


def _names(source: Path, lines: list[tuple[int, str]]) -> Iterator[tuple[int, list[str]]]:
    """(line number, what may be its path) of each line of a list."""
    suffix = source.suffix.lower()
    if suffix == ".txt":
        yield from ((number, [line, line.split()[0]]) for number, line in lines)
    elif suffix == ".jsonl":
        yield from ((number, [_json_path(line, source, number)]) for number, line in lines)
    else:
        rows = [(number, next(csv.reader([line]))) for number, line in lines]
        column = _path_column(rows[0][1], source) if rows else None
        for number, row in rows if column is None else rows[1:]:
            yield number, row[column or 0 : (column or 0) + 1] or [""]


def _path_column(header: list[str], source: Path) -> int | None:
    """The column of a CSV's paths where its first line names it; None where that line is data."""
    named = [cell.strip().lower() for cell in header]
    if os.path.isfile(source.parent / header[0]):
        return None
    return next((named.index(name) for name in PATH_COLUMNS if name in named), None)


def _json_path(line: str, source: Path, number: int) -> str:
    try:
        row = json.loads(line)
        return next(str(row[name]) for name in PATH_COLUMNS if name in row)
    except (ValueError, TypeError, StopIteration) as fault:
        raise DatasetError(
            "no path in the line", where=f"{source}, line {number}", fix=f"give it as {', '.join(PATH_COLUMNS)}"
        ) from fault


def _listed_path(names: list[str], source: Path, number: int) -> Path | str:
    for name in names:
        if "://" in name:
            return name
        for place in (source.parent / name, Path(name)):  # the second in what a run wrote of files it could not read
            if name and os.path.exists(place):
                return place
    raise DatasetError(
        f"no such file: {names[-1]}", where=f"{source}, line {number}", fix="paths are relative to the list; correct it"
    )
