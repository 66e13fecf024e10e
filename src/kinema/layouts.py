"""Where DAVIS, YouTube-VOS, VIP and JHMDB keep their files: known here once, for those who read and those who write.

Frames are counted from zero in every argument, whatever number the dataset puts into the file name.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kinema.errors import ConfigError, DatasetError

Benchmark = Literal["davis", "ytvos", "vip", "jhmdb"]
"""The name of a labeled data set, as `kinema benchmark` and `kinema score` take it."""


@dataclass(frozen=True)
class KnownDataset:
    """What a labeled data set is called, and how its root folder is recognized."""

    title: str
    signs: tuple[str, ...]
    """Glob patterns; a folder in which one of them matches is taken for a root of this data set."""


DATASETS: dict[Benchmark, KnownDataset] = {
    "davis": KnownDataset("DAVIS-2017", ("ImageSets/2017",)),
    "ytvos": KnownDataset("YouTube-VOS", ("*/meta.json",)),
    "vip": KnownDataset("VIP", ("Annotations/Category_ids", "lists/*_videos.txt")),
    "jhmdb": KnownDataset("JHMDB", ("Rename_Images", "joint_positions")),
}
"""Every labeled data set. `kinema.benchmark.registry` says how each is read and scored."""


def dataset_at(root: Path) -> Benchmark | None:
    """Which of `DATASETS` has its folders under `root`; None where none has."""
    return next((name for name, known in DATASETS.items() if any(_exists(root, sign) for sign in known.signs)), None)


def require_root(root: Path, name: Benchmark, needed: Sequence[Path]) -> None:
    """DatasetError where any of `needed` is not there; it says what `root` is instead, where that can be told."""
    missing = [str(path.relative_to(root)) for path in needed if not path.exists()]
    if not missing:
        return
    what = f"not a {DATASETS[name].title} root: no {', no '.join(missing)}"
    found = dataset_at(root)
    inside = [folder.name for folder in sorted(root.glob("*/")) if dataset_at(folder) == name]
    fix = f"give the folder that holds {', '.join(sorted({path.split('/')[0] for path in missing}))}"
    if found == name:
        fix = "unpack the data set again"
    elif found is not None:
        fix = f"it looks like {DATASETS[found].title}, which is called {found} here"
    elif inside:
        fix = f"its folder {inside[0]} looks like one"
    raise DatasetError(what, where=str(root), fix=fix)


def _exists(root: Path, sign: str) -> bool:
    return next(root.glob(sign), None) is not None


MASKS, FRAMES = "Annotations", ("JPEGImages", "Images")
"""The folder of masks in DAVIS, YouTube-VOS and VIP, and what the folder of frames beside it may be called."""


@dataclass(frozen=True)
class DavisLayout:
    """DAVIS-2017: `JPEGImages/480p/<sequence>/00000.jpg`, palette masks beside them, lists under `ImageSets/2017`."""

    root: Path
    resolution: str = "480p"

    def splits(self) -> list[str]:
        """Names of the lists there are."""
        return sorted(path.stem for path in (self.root / "ImageSets" / "2017").glob("*.txt"))

    def list_file(self, split: str) -> Path:
        """The text file that names the sequences of a split, one a line."""
        return self.root / "ImageSets" / "2017" / f"{split}.txt"

    def sequences(self, split: str) -> list[str]:
        """Names of the sequences of a split, in the order of its list. DatasetError where there is no such list."""
        return _read_lines(self.list_file(split), dataset="DAVIS-2017")

    def frames_dir(self, sequence: str) -> Path:
        """Folder of a sequence's JPEG frames."""
        return self.root / "JPEGImages" / self.resolution / sequence

    def masks_dir(self, sequence: str) -> Path:
        """Folder of a sequence's palette PNGs, whose values are object ids (0 background, 255 void)."""
        return self.root / "Annotations" / self.resolution / sequence

    def frame_file(self, sequence: str, frame: int) -> Path:
        """Path of one frame."""
        return self.frames_dir(sequence) / f"{frame:05d}.jpg"

    def mask_file(self, sequence: str, frame: int) -> Path:
        """Path of one mask."""
        return self.masks_dir(sequence) / f"{frame:05d}.png"


@dataclass(frozen=True)
class YouTubeVosObject:
    """What meta.json says of one object."""

    category: str | None
    """None where the file keeps it to itself."""
    frames: tuple[int, ...]
    """Numbers of the annotated frames that show it; the first is where its mask is given."""


@dataclass(frozen=True)
class YouTubeVosLayout:
    """YouTube-VOS 2018/2019: `<split>/{JPEGImages,Annotations}/<video>/00000.*` and `<split>/meta.json`.

    `valid` holds every fifth frame and the masks of frames where an object first appears; `valid_all_frames` holds
    every frame. File names carry the frame number of the full video, so they step by five in `valid`.
    """

    root: Path

    def meta_file(self, split: str) -> Path:
        """JSON: `videos` -> video -> `objects` -> object id as text -> {`category`, `frames`: names of 5 digits}."""
        return self.root / split / "meta.json"

    def splits(self) -> list[str]:
        """Names of the splits that have a meta.json."""
        return sorted(path.parent.name for path in self.root.glob("*/meta.json"))

    def videos(self, split: str) -> list[str]:
        """Names of the videos of a split, sorted. DatasetError where its meta.json is missing or has another form."""
        return list(self.objects(split))

    def objects(self, split: str) -> dict[str, dict[int, YouTubeVosObject]]:
        """What meta.json says of every video, by name, sorted: its objects by id. Errors as `videos`."""
        meta = self.meta_file(split)
        try:
            videos = json.loads(meta.read_text(encoding="utf-8-sig"))["videos"]
            return {name: _objects(videos[name].get("objects", {})) for name in sorted(videos)}
        except FileNotFoundError:
            raise _no_list(meta, "YouTube-VOS") from None
        except OSError as error:
            raise _unreadable_list(meta, "YouTube-VOS", error) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            fix = 'expected {"videos": {...}}; unpack the archive again'
            raise DatasetError("meta.json is not YouTube-VOS's", where=str(meta), fix=fix) from error

    def frames_dir(self, split: str, video: str) -> Path:
        """Folder of a video's JPEG frames in the split: every fifth for `valid`."""
        return self.root / split / "JPEGImages" / video

    def all_frames_dir(self, split: str, video: str) -> Path:
        """Folder of every JPEG frame of a video, a separate download."""
        return self.frames_dir(f"{split}_all_frames", video)

    def masks_dir(self, split: str, video: str) -> Path:
        """Folder of a video's palette PNGs, whose values are object ids."""
        return self.root / split / "Annotations" / video

    def truth_dir(self, split: str, video: str) -> Path:
        """Folder of the masks to score by: in `train` those that are given; else beside the split, in
        `<split>_truth`, which the public set withholds."""
        return self.masks_dir(split if split == "train" else f"{split}_truth", video)

    def frame_file(self, split: str, video: str, frame: int) -> Path:
        """Path of one frame of the split."""
        return self.frames_dir(split, video) / f"{frame:05d}.jpg"

    def mask_file(self, split: str, video: str, frame: int) -> Path:
        """Path of one mask."""
        return self.masks_dir(split, video) / f"{frame:05d}.png"


@dataclass(frozen=True)
class VipLayout:
    """VIP, the folder `VIP_Fine`: `Images/<video>/000000000001.jpg`, category ids (20 classes) beside, `lists/`."""

    root: Path

    def splits(self) -> list[str]:
        """Names of the lists there are."""
        return sorted(path.stem.removesuffix("_videos") for path in (self.root / "lists").glob("*_videos.txt"))

    def list_file(self, split: str) -> Path:
        """The text file that names the videos of a split, one a line."""
        return self.root / "lists" / f"{split}_videos.txt"

    def videos(self, split: str) -> list[str]:
        """Names of the videos of a split, in the order of its list. DatasetError where there is no such list."""
        return _read_lines(self.list_file(split), dataset="VIP")

    def frames_dir(self, video: str) -> Path:
        """Folder of a video's JPEG frames, whose numbers start at 1 and may have gaps."""
        return self.root / "Images" / video

    def masks_dir(self, video: str) -> Path:
        """Folder of a video's PNGs, whose values are part categories (0 background to 19)."""
        return self.root / "Annotations" / "Category_ids" / video

    def frame_file(self, video: str, frame: int) -> Path:
        """Path of one frame, in a video whose numbers have no gaps."""
        return self.frames_dir(video) / f"{frame + 1:012d}.jpg"

    def mask_file(self, video: str, frame: int) -> Path:
        """Path of one part mask, in a video whose numbers have no gaps."""
        return self.masks_dir(video) / f"{frame + 1:012d}.png"


@dataclass(frozen=True)
class JhmdbClip:
    """One clip of JHMDB: its action class and its name, without ending."""

    action: str
    name: str

    def __str__(self) -> str:
        return f"{self.action}/{self.name}"


@dataclass(frozen=True)
class JhmdbLayout:
    """JHMDB: `Rename_Images/<action>/<clip>/00001.png`, joints beside them as .mat files, lists under `splits`.

    The .mat holds `pos_img`, (2, 15, T): x and y in pixels counted from one.
    """

    root: Path

    def list_file(self, action: str, *, fold: int = 1) -> Path:
        """The text file of one action: `<clip>.avi 1` for a training clip, `<clip>.avi 2` for a test clip."""
        return self.root / "splits" / f"{action}_test_split{fold}.txt"

    def clips(self, split: str, *, fold: int = 1) -> list[JhmdbClip]:
        """Clips of `train` or `test` in one of the three folds, by action, then in the order of the lists.

        ConfigError for another split, DatasetError where there are no lists.
        """
        if split not in _JHMDB_MARKS:
            raise ConfigError(f"JHMDB has no split {split!r}", fix="use train or test")
        ending = f"_test_split{fold}.txt"
        lists = sorted((self.root / "splits").glob(f"*{ending}"))
        if not lists:
            raise _no_list(self.list_file("<action>", fold=fold), "JHMDB")
        return [
            JhmdbClip(path.name.removesuffix(ending), line.split()[0].removesuffix(".avi"))
            for path in lists
            for line in _read_lines(path, dataset="JHMDB")
            if line.split()[-1] == _JHMDB_MARKS[split]
        ]

    def frames_dir(self, clip: JhmdbClip) -> Path:
        """Folder of a clip's PNG frames, whose numbers start at 1."""
        return self.root / "Rename_Images" / clip.action / clip.name

    def frame_file(self, clip: JhmdbClip, frame: int) -> Path:
        """Path of one frame."""
        return self.frames_dir(clip) / f"{frame + 1:05d}.png"

    def joints_file(self, clip: JhmdbClip) -> Path:
        """Path of the clip's joint positions."""
        return self.root / "joint_positions" / clip.action / clip.name / "joint_positions.mat"


_JHMDB_MARKS = {"train": "1", "test": "2"}


def _objects(described: dict[str, dict]) -> dict[int, YouTubeVosObject]:
    return {
        int(key): YouTubeVosObject(value.get("category"), tuple(int(frame) for frame in value.get("frames", ())))
        for key, value in sorted(described.items(), key=lambda item: int(item[0]))
    }


def _read_lines(path: Path, *, dataset: str) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise _no_list(path, dataset) from None
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable_list(path, dataset, error) from error
    return [line.strip() for line in lines if line.strip()]


def _unreadable_list(path: Path, dataset: str, error: OSError | UnicodeDecodeError) -> DatasetError:
    what = f"the {dataset} list is not " + ("readable" if isinstance(error, OSError) else "UTF-8 text")
    reason = f": {error.strerror}" if isinstance(error, OSError) else ""
    return DatasetError(what + reason, where=str(path), fix="unpack the dataset again")


def _no_list(path: Path, dataset: str) -> DatasetError:
    fix = f"give the folder that holds {dataset}, and a split it has"
    return DatasetError(f"no {dataset} list", where=str(path), fix=fix)
