"""What a synthetic clip is asked to be: its size, its length, and a dial for each difficulty of correspondence."""

from dataclasses import dataclass, field, fields

from kinema.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Difficulty:
    """One dial for each thing that makes it hard to follow an object. A value outside its range is a `ConfigError`."""

    num_objects: int = 4
    """Objects in a clip, 1 to 32; the first is the articulated figure that carries the joints."""
    speed: float = 0.5
    """Mean speed of an object's center along its curved path, in image heights a second, 0 to 4."""
    rotation: float = 30.0
    """Largest in-plane turn to either side, in degrees, 0 to 180; the figure, nearer upright, turns 0.4 of it."""
    scaling: float = 0.3
    """Sizes vary by factors from 1 / (1 + scaling) to 1 + scaling, 0 to 1."""
    deformation: float = 0.5
    """0 rigid to 1: limbs swing by up to 45 degrees and a smooth warp moves points by up to 0.08 object sizes."""
    occlusion: float = 0.5
    """0: each object keeps to its own strip of the frame; 1: all roam the whole frame and cross."""
    camera: float = 0.5
    """0 still to 1: the background pans half an image height, zooms 25 % and turns 12 degrees to either side."""
    lighting: float = 0.15
    """Largest relative change of brightness over time and across the frame, 0 to 0.9."""
    texture_similarity: float = 0.2
    """0: objects have colors and patterns of their own; 1: they wear the background's."""
    noise: float = 2.0
    """Standard deviation of sensor noise, in gray levels of 255, 0 to 64."""
    blur: float = 0.5
    """Standard deviation of a Gaussian blur of the whole frame, in pixels, 0 to 8. Masks stay sharp."""
    compression: float = 0.0
    """0: none; above it every frame passes through JPEG of quality 95 - 90 * compression, up to 1."""
    late_share: float = 0.25
    """Share of the objects that enter after the first frame, 0 to 1, rounded down; the figure never does."""

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            _check_range(name, getattr(self, name), low, high)


_RANGES: dict[str, tuple[int | float, int | float]] = {
    "num_objects": (1, 32),
    "speed": (0, 4),
    "rotation": (0, 180),
    "scaling": (0, 1),
    "deformation": (0, 1),
    "occlusion": (0, 1),
    "camera": (0, 1),
    "lighting": (0, 0.9),
    "texture_similarity": (0, 1),
    "noise": (0, 64),
    "blur": (0, 8),
    "compression": (0, 1),
    "late_share": (0, 1),
}
assert set(_RANGES) == {dial.name for dial in fields(Difficulty)}


@dataclass(frozen=True, kw_only=True)
class SceneConfig:
    """Size, length and difficulty of a clip."""

    height: int = 240
    """Pixels, 32 to 2160."""
    width: int = 426
    """Pixels, 32 to 3840."""
    num_frames: int = 40
    """1 to 10000."""
    fps: float = 25.0
    """Frames a second, 1 to 240: turns the speeds, which are a second's, into a frame's."""
    difficulty: Difficulty = field(default_factory=Difficulty)

    def __post_init__(self) -> None:
        _check_range("height", self.height, 32, 2160)
        _check_range("width", self.width, 32, 3840)
        _check_range("num_frames", self.num_frames, 1, 10_000)
        _check_range("fps", self.fps, 1, 240)


def _check_range(name: str, value: int | float, low: int | float, high: int | float) -> None:
    if not low <= value <= high:  # also refuses NaN
        raise ConfigError(f"{name} is {value}", where="synthetic scene", fix=f"choose between {low} and {high}")
