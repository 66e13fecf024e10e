"""What makes objects hard to follow, one thing at a time: synthetic sets that are an easy one but for one factor."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kinema.errors import ConfigError
from kinema.tools.synthetic.scene import Difficulty, SceneConfig
from kinema.tools.synthetic.write import describe_set, holds_set, write_set

EASY = "easy"
_EASY = Difficulty(
    num_objects=4,
    speed=0.5,  # slower ones would not meet within a clip of a second, however much occlusion is turned up
    rotation=3.0,
    scaling=0.03,
    deformation=0.05,
    occlusion=0.0,
    camera=0.05,
    lighting=0.02,
    texture_similarity=0.0,
    noise=1.0,
    blur=1.0,
    compression=0.0,
    late_share=0.0,
)
_TURNED: Mapping[str, Mapping[str, float]] = {
    EASY: {},
    "deformation": {"deformation": 1.0},
    "occlusion": {"occlusion": 1.0},
    "viewpoint": {"camera": 1.0, "rotation": 90.0, "scaling": 0.8},
    "blur": {"blur": 8.0},
    "noise": {"noise": 48.0},
    "compression": {"compression": 1.0},
}
FACTORS = tuple(name for name in _TURNED if name != EASY)
"""What each set but the easy one has more of."""
_SEED = 0


def difficulty_of(name: str) -> Difficulty:
    """The difficulty of the set of that name: `EASY`, or that with the dials of one of `FACTORS` turned far up."""
    return replace(_EASY, **_TURNED[name])


@dataclass(frozen=True, kw_only=True)
class DialSets:
    """A folder with a set for `EASY` and for each of `FACTORS`, as DAVIS keeps them, every clip of them `val`.

    Clips of one number are of the same seed in every set: the same objects begin at the same places before the same
    background, so that differences from the easy set are paired. Only `viewpoint`, which needs larger textures, draws
    patterns and paths anew. ConfigError for fewer than 1 clip or 3 frames.
    """

    folder: Path
    clips: int
    num_frames: int
    height: int = 240
    width: int = 426
    """Pixels."""

    def __post_init__(self) -> None:
        if self.num_frames < 3:
            fix = "ask for 3 or more: the first and the last are not scored"
            raise ConfigError(f"{self.num_frames} frames a clip", where="synthetic dials", fix=fix)
        describe_set(**self._arguments(EASY))

    def root(self, name: str) -> Path:
        """The DAVIS root of the set of that name."""
        return self.folder / name / "davis"

    def describe(self, name: str) -> dict[str, Any]:
        """What the set of that name depends on, in plain values."""
        return describe_set(**self._arguments(name))

    def is_rendered(self, name: str) -> bool:
        """Whether the set of that name is there; ConfigError where another one is in its place."""
        return holds_set(self.folder / name, self.describe(name))

    def render(self, name: str, *, on_clip: Callable[[int, int], None] | None = None) -> None:
        """Writes the set of that name unless it is there; errors as `write_set` and `is_rendered`."""
        if self.is_rendered(name):
            return
        try:
            write_set(self.folder / name, **self._arguments(name), on_clip=on_clip)
        except ConfigError:
            if not self.is_rendered(name):  # it is where another process rendered it meanwhile
                raise

    def _arguments(self, name: str) -> dict[str, Any]:
        size = {"height": self.height, "width": self.width, "num_frames": self.num_frames}
        config = SceneConfig(**size, difficulty=difficulty_of(name))
        return {"clips": self.clips, "seed": _SEED, "config": config, "layouts": ("davis",), "held_out": self.clips}
