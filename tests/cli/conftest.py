"""One command of `kinema`, run in this process, and the small inputs that commands are tried on."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kinema.cli.main import main
from kinema.settings import IMAGENET_MEAN, IMAGENET_STD
from tests.labeling.small import write_davis, write_encoder, write_inputs

SMALL = ("--features.size.short-side", "48", "--features.size.multiple", "16")
"""Features of frames at their own size."""
TINY = ("--train.steps", "3", "--data.num-workers", "0", "--train.pictures-every-steps", "None")
"""A run of a moment."""
IMAGENET_PIXELS = {"mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD)}
"""What a network was trained to see pixels standardized by, as results say it."""


@dataclass(frozen=True)
class Outcome:
    """What a command said and gave back."""

    code: int
    out: str
    err: str

    @property
    def answer(self) -> dict[str, Any]:
        """The one JSON object on standard output."""
        (line,) = self.out.splitlines()
        return json.loads(line)

    def require_error(self, code: int, *words: str) -> None:
        """One line on standard error says what is wrong, where and what to do; nothing is on standard output."""
        assert (self.code, self.out) == (code, ""), self
        *before, last = self.err.splitlines()
        assert last.startswith("kinema: error: "), self.err
        assert ": " in last.removeprefix("kinema: error: "), f"says nothing to do: {last}"
        assert not [line for line in before if "rror" in line or "Traceback" in line], self.err
        for word in words:
            assert word in last


Command = Callable[..., Outcome]


@pytest.fixture
def kinema(capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = int(end.code or 0)
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err)

    return run


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `davis`, `clips` (its frames), `weights`, videos and masks; nobody writes to it."""
    folder = tmp_path_factory.mktemp("inputs")
    layout = write_davis(folder / "synth")
    (folder / "davis").symlink_to(layout.root)
    (folder / "clips").symlink_to(layout.frames_dir(""))
    write_encoder(folder / "weights")
    write_inputs(folder)
    (folder / "empty").mkdir()
    (folder / "texts").mkdir()
    for name in ("a.md", "b.json"):
        (folder / "texts" / name).write_text("words\n")
    (folder / "file").write_text("in the way\n")
    (folder / "not_empty").mkdir()
    (folder / "not_empty" / "thing").write_text("here first\n")
    return folder


def files_in(folder: Path) -> list[str]:
    """Everything below a folder, by its path from there."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def propagate_with(kinema: Command, inputs: Path, out: Path, **changes: object) -> Outcome:
    """`kinema propagate` of a small video, with other options than those that work."""
    given = {"video": "video.mp4", "labels": "mask.png", "weights": inputs / "weights"} | changes
    video, labels = inputs / str(given.pop("video")), inputs / str(given.pop("labels"))
    options = [part for name, value in given.items() for part in (f"--{name}", value)]
    return kinema("propagate", video, "--labels", labels, "--out", out, *SMALL, *options)
