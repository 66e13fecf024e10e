"""A run's own folder: written first, the same for the same request, and nobody else's."""

import errno
import json
from dataclasses import replace
from pathlib import Path

import pytest

from kinema.datasets.media import MediaItem
from kinema.errors import ConfigError, TrainingError
from kinema.recipes.recipe import Recipe
from kinema.recipes.registry import recipe_named
from kinema.recipes.run_folder import described, fingerprint, open_run_folder

RECIPE = recipe_named("siammae_smoke")
ITEMS = [MediaItem(path=Path(name), kind="video") for name in ("a.mp4", "b.mp4")]


def _description(recipe: Recipe = RECIPE, items: list[MediaItem] = ITEMS, init_from: str | None = None) -> dict:
    return described("siammae_smoke", recipe, items, init_from)


def test_what_is_written_first(tmp_path: Path) -> None:
    open_run_folder(tmp_path / "deep" / "run", _description(), fresh=False)
    assert [path.name for path in (tmp_path / "deep" / "run").iterdir()] == ["recipe.json"]
    written = json.loads((tmp_path / "deep" / "run" / "recipe.json").read_text())
    assert written["settings"]["train"]["batch_size"] == 8
    assert written["files"]["count"] == 2
    assert written.keys() == {"recipe", "settings", "files", "init_from", "command", "versions"}


def test_what_counts_as_the_same_run() -> None:
    same = replace(
        RECIPE,
        data=replace(RECIPE.data, num_workers=7),
        train=replace(RECIPE.train, log_every_steps=1, keep_checkpoints=9),
    )
    assert fingerprint(_description(same)) == fingerprint(_description())
    others = [
        _description(replace(RECIPE, train=replace(RECIPE.train, seed=1))),
        _description(replace(RECIPE, data=replace(RECIPE.data, repeats=4))),
        _description(replace(RECIPE, method=replace(RECIPE.method, mask_ratio=0.5))),
        _description(items=ITEMS[:1]),
        _description(items=[ITEMS[0], MediaItem(path=Path("c.mp4"), kind="video")]),
        _description(init_from="runs/a"),
    ]
    assert len({fingerprint(each) for each in (*others, _description())}) == 7


def test_a_run_that_was_begun_goes_on(tmp_path: Path) -> None:
    open_run_folder(tmp_path, _description(), fresh=False)
    written = (tmp_path / "recipe.json").read_bytes()
    (tmp_path / "metrics.jsonl").write_text("{}")
    open_run_folder(tmp_path, _description(), fresh=False)
    assert (tmp_path / "recipe.json").read_bytes() == written
    other = _description(replace(RECIPE, train=replace(RECIPE.train, seed=1)))
    with pytest.raises(ConfigError, match=r"another configuration is there: train\.seed was 0, now 1"):
        open_run_folder(tmp_path, other, fresh=False)
    assert (tmp_path / "metrics.jsonl").exists()


def test_fresh_removes_a_run_and_nothing_else(tmp_path: Path) -> None:
    open_run_folder(tmp_path, _description(), fresh=False)
    (tmp_path / "metrics.jsonl").write_text("{}")
    (tmp_path / "checkpoints" / "step-00000001").mkdir(parents=True)
    (tmp_path / "notes.txt").write_text("mine")
    open_run_folder(tmp_path, _description(init_from="runs/a"), fresh=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "recipe.json"]
    assert json.loads((tmp_path / "recipe.json").read_text())["init_from"] == "runs/a"


def test_a_run_killed_while_it_wrote_its_first_file_can_begin_again(tmp_path: Path) -> None:
    (tmp_path / ".recipe.json.partial").write_text('{"recipe": "siam')
    open_run_folder(tmp_path, _description(), fresh=False)
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.json"]


@pytest.mark.parametrize("content", [None, "no JSON", "[1, 2]"])
@pytest.mark.parametrize("fresh", [False, True])
def test_a_folder_of_something_else(tmp_path: Path, content: str | None, fresh: bool) -> None:
    (tmp_path / "thesis.doc").write_text("years of work")
    if content is not None:
        (tmp_path / "recipe.json").write_text(content)
    with pytest.raises(ConfigError, match="not empty and holds no run"):
        open_run_folder(tmp_path, _description(), fresh=fresh)
    assert (tmp_path / "thesis.doc").exists()


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(ConfigError, match="a file is in the way"):
            open_run_folder(out, _description(), fresh=False)


@pytest.mark.parametrize(
    ("number", "kind", "said"),
    [(errno.ENOSPC, TrainingError, "the disk is full"), (errno.EACCES, ConfigError, "cannot write the run folder")],
)
def test_a_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception], said: str
) -> None:
    def refuse(path: Path, _text: str) -> None:
        path.touch()
        raise OSError(number, "as the system says")

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(kind, match=said):
        open_run_folder(tmp_path / "run", _description(), fresh=False)
    assert list((tmp_path / "run").iterdir()) == []
