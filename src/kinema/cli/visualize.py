"""`kinema visualize VIEW`: pictures and films of what a network sees in a video."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from kinema.cli.option_groups import resolve_protocol_settings
from kinema.cli.terminal import Common, Device, answer, fail, parse, run, say, show_progress
from kinema.errors import ConfigError, KinemaError, counted, nearest
from kinema.settings import FeatureSettings
from kinema.weights.builtin import DEFAULT_WEIGHTS

if TYPE_CHECKING:
    from kinema.tools.visualize.sheets import Drawn, Stretch, View
    from kinema.tools.visualize.views import Network
    from kinema.video.base import VideoReader

_USAGE = "kinema visualize VIEW VIDEO --weights W --out FOLDER [options]"


@dataclass(frozen=True, kw_only=True)
class OfVideo(Common):
    """Options of every view."""

    video: tyro.conf.Positional[Path]
    """A video file, a folder of frames, or an image."""
    out: Path
    """A folder for VIEW.png and VIEW.mp4; other views' files may be there."""
    start: int = 0
    """First frame to show, from 0."""
    frames: int | None = None
    """How many frames to show; unset: to the end."""
    film: tyro.conf.FlagConversionOff[bool] = True
    """Write VIEW.mp4 as well: every frame, drawn as it comes, so that a video may be of any length."""
    device: Device = "auto"


@dataclass(frozen=True, kw_only=True)
class OfFeatures(OfVideo):
    """Options of the views of frozen networks."""

    weights: str = DEFAULT_WEIGHTS
    """Whatever `kinema propagate` takes: a built-in encoder, a run folder, a checkpoint, untrained:tiny/16@SEED."""
    features: tyro.conf.FlagConversionOff[FeatureSettings]
    beside: str | None = None
    """Another network to show beside it, `untrained` for the same one with fresh weights, or `none`. Unset: untrained,
    where it is a ViT."""
    pictures: int = 4
    """Frames on the sheet, spread evenly."""
    samples: int = 16
    """Frames, spread evenly, that scales and colors of the whole clip are made of."""


@dataclass(frozen=True, kw_only=True)
class Attention(OfFeatures):
    """Where a block of a transformer looks, head by head."""

    point: tuple[float, float] | None = None
    """x and y, in pixels, of the patch whose attention is shown; unset: the class token's (without one, the mean)."""
    heads: tuple[int, ...] = ()
    """Which heads to show, from 1; none named: all."""


@dataclass(frozen=True, kw_only=True)
class Components(OfFeatures):
    """The first three principal components of the features of the whole clip, as red, green and blue."""


@dataclass(frozen=True, kw_only=True)
class Correspondences(OfFeatures):
    """Where points of one frame are found again, by the likeness of features."""

    points: tuple[tuple[float, float], ...]
    """x and y in pixels, one point after the other: 120 80 200 90."""
    point_frame: int | None = None
    """The frame that they are given in; unset: the first that is shown."""


@dataclass(frozen=True, kw_only=True)
class Masked(OfVideo):
    """Options of the views of masked autoencoders."""

    gap: int = 4
    """Frames from one to the next: on the sheet of a method of frame pairs, or within the clip of a method of clips,
    which passes those between over."""
    pictures: int = 8
    """Frames on the sheet; of a method of frame pairs the first is the past, the others its futures."""
    mask_ratio: float | None = None
    """Share that is hidden; unset: 0.9 for a method of frame pairs, its own for others."""
    seed: int = 0
    """Of the masks."""
    region: tuple[int, int, int] | None = None
    """Top, left and side, in pixels, of the square that is shown; unset: the largest at the middle."""


@dataclass(frozen=True, kw_only=True)
class Reconstruct(Masked):
    """What a masked autoencoder predicts: honest, and with the true mean and contrast of each patch."""

    weights: Path
    """A run folder with its checkpoints, one of those, or a VideoMAE or ViTMAE that transformers wrote."""


@dataclass(frozen=True, kw_only=True)
class Masks(Masked):
    """What a masked autoencoder hides; no weights are needed."""

    recipe: str | None = None
    """Whose masks; or give --weights."""
    weights: Path | None = None
    """A run folder whose masks are shown."""


def main(arguments: Sequence[str]) -> int:
    """Draws; gives the exit code."""
    if not arguments or arguments[0] in ("-h", "--help"):
        return _explain(arguments)
    name, rest = arguments[0], arguments[1:]
    debug = "--debug" in rest
    if name not in VIEWS:
        fix = f"{nearest(name, VIEWS)}choose from {', '.join(VIEWS)}"
        return fail(ConfigError(f"unknown view '{name}'", where="kinema visualize", fix=fix), debug=debug)
    kind, command = VIEWS[name]
    try:
        defaults = {"features": resolve_protocol_settings(rest)["features"]} if issubclass(kind, OfFeatures) else {}
    except KinemaError as error:
        return fail(error, debug=debug)
    given = parse(kind, rest, command=f"visualize {name}", **defaults)
    return run(lambda: command(given), debug=debug)


def _explain(arguments: Sequence[str]) -> int:
    if not arguments:
        say(f"kinema: error: no view named: write {_USAGE}; `kinema visualize --help` lists them")
        return 2
    print(f"usage: {_USAGE}\n\n`kinema visualize VIEW --help` shows every option.\n\nviews:")
    for name, (kind, _) in VIEWS.items():
        print(f"  {name:<12} {(kind.__doc__ or '').splitlines()[0]}")
    return 0


def _attention(given: Attention) -> None:
    from kinema.tools.visualize.views import AttentionView

    def view(_: "VideoReader", networks: "list[Network]", samples: list[Any]) -> "tuple[View, dict[str, Any]]":
        shown = AttentionView(networks, samples, point=given.point, heads=given.heads)
        return shown.view(), {"asked": shown.asked}

    _draw_features(given, view)


def _components(given: Components) -> None:
    from kinema.tools.visualize.views import components_view

    def view(_: "VideoReader", networks: "list[Network]", samples: list[Any]) -> "tuple[View, dict[str, Any]]":
        return components_view(networks, samples)

    _draw_features(given, view)


def _correspond(given: Correspondences) -> None:
    from kinema.tools.visualize.views import CorrespondenceView

    def view(video: "VideoReader", networks: "list[Network]", samples: list[Any]) -> "tuple[View, dict[str, Any]]":
        number = given.start if given.point_frame is None else given.point_frame
        shown = CorrespondenceView(networks, video.frames([number])[0], given.points, samples)
        return shown.view(), {"matches": shown.rows}

    _draw_features(given, view)


def _draw_features(
    given: OfFeatures, make: "Callable[[VideoReader, list[Network], list[Any]], tuple[View, dict[str, Any]]]"
) -> None:
    from kinema.tools.visualize.sheets import draw_video, spread
    from kinema.tools.visualize.views import networks_beside, sampled
    from kinema.video.reader import open_video

    networks = networks_beside(given.weights, given.beside, settings=given.features, device=given.device)
    stretch = _stretch(given)
    with open_video(given.video) as video, show_progress("drawing") as report:
        numbers = stretch.of(video.num_frames)
        samples = sampled(video, spread(numbers, given.samples))
        view, said = make(video, networks, samples)
        drawn = draw_video(
            video, view, given.out, stretch=stretch, pictures=given.pictures, film=given.film, report=report
        )
        frame = samples[0].shape[:2]
        read = networks[0].extractor.input_size(*frame)
    about = {"networks": [asdict(network.extractor.source) for network in networks], **said}
    _answer(given, drawn, frame=frame, read=read, about=about)


def _masked(given: Reconstruct | Masks, what: Literal["reconstruct", "masks"]) -> None:
    from kinema.ops.precision import resolve_device
    from kinema.runs.trained import select_method
    from kinema.tools.visualize.reconstruct import Reconstructor, Windows
    from kinema.video.reader import open_video

    windows = Windows(gap=given.gap, frames=given.pictures, region=given.region, seed=given.seed)
    device = resolve_device(given.device)
    method = select_method(given.weights, getattr(given, "recipe", None), mask_ratio=given.mask_ratio)
    with open_video(given.video) as video, show_progress("drawing") as report:
        painter = Reconstructor(method.method, windows, masks_only=what == "masks", device=device)
        drawn = painter.draw(video, given.out, what, stretch=_stretch(given), film=given.film, report=report)
        frame, crop = (video.height, video.width), windows.crop(video.height, video.width)
    clip = method.method.clip
    about = {"method": method.name, "weights": method.source, "region": [crop.top, crop.left, crop.height]}
    about["gap"] = painter.stride
    _answer(given, drawn, frame=frame, read=(clip.height, clip.width), about=about, square=crop.height)


def _stretch(given: OfVideo) -> "Stretch":
    from kinema.tools.visualize.sheets import Stretch

    return Stretch(start=given.start, frames=given.frames)


def _answer(
    given: OfVideo,
    drawn: "Drawn",
    *,
    frame: tuple[int, ...],
    read: tuple[int, int],
    about: dict[str, Any],
    square: int | None = None,
) -> None:
    from kinema.tools.visualize.sheets import sizes_sentence

    sizes = {"frame": list(frame), "read": list(read), "shown": list(drawn.shown)}
    result = {"out": str(given.out), "files": list(drawn.files), "frames": drawn.frames, "sizes": sizes, **about}
    lines = [
        f"{given.out}: {', '.join(drawn.files)} ({counted(drawn.frames, 'frame')})",
        sizes_sentence((frame[0], frame[1]), read, drawn.shown, square=square),
    ]
    if about.get("gap", 1) > 1:
        lines.append(f"a clip's frames are {about['gap']} apart, those between passed over: --gap 1 shows every one")
    if "asked" in about:
        lines.append(f"attention of: {about['asked']}; 2x is twice what even attention would be")
    answer(result, "\n".join(lines), as_json=given.json)


VIEWS: dict[str, tuple[type[OfVideo], Callable[[Any], None]]] = {
    "reconstruct": (Reconstruct, lambda given: _masked(given, "reconstruct")),
    "attention": (Attention, _attention),
    "pca": (Components, _components),
    "correspond": (Correspondences, _correspond),
    "masks": (Masks, lambda given: _masked(given, "masks")),
}
