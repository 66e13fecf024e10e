"""A run's own folder: written first, the same for the same request, and nobody else's."""

import errno
import json
from dataclasses import replace
from pathlib import Path

import pytest

from kinema.datasets.scan import MediaItem
from kinema.errors import ConfigError, TrainingError
from kinema.recipes.recipe import Recipe
from kinema.recipes.registry import get_recipe
from kinema.runs.run_folder import compute_fingerprint, describe_run, open_run_folder

RECIPE = get_recipe("siammae_smoke")
ITEMS = [MediaItem(path=Path("clips", name), kind="video") for name in ("a.mp4", "b.mp4")]
RUNS_ON = {"device": "cpu", "precision": "fp32"}


def _description(recipe: Recipe = RECIPE, items: list[MediaItem] = ITEMS, init_from: str | None = None) -> dict:
    return describe_run("siammae_smoke", recipe, items, [Path("clips")], init_from)


def _open(out: Path, description: dict | None = None, *, fresh: bool = False, **runs_on: str) -> None:
    open_run_folder(out, description or _description(), runs_on=RUNS_ON | runs_on, fresh=fresh)


def test_what_is_written_first(tmp_path: Path) -> None:
    _open(tmp_path / "deep" / "run")
    assert [path.name for path in (tmp_path / "deep" / "run").iterdir()] == ["recipe.json"]
    written = json.loads((tmp_path / "deep" / "run" / "recipe.json").read_text())
    assert written["settings"]["train"]["batch_size"] == 8
    assert written["files"]["count"] == 2
    assert written.keys() == {"recipe", "settings", "files", "init_from", "runs_on", "command", "versions"}
    assert written["runs_on"] == RUNS_ON


def test_what_counts_as_the_same_run() -> None:
    same = replace(
        RECIPE,
        data=replace(RECIPE.data, num_workers=7, max_unreadable_share=0.5),
        train=replace(
            RECIPE.train,
            log_every_steps=1,
            checkpoint_every_steps=3,
            checkpoint_every_s=60.0,
            keep_checkpoints=9,
            export_every_steps=4,
            pictures_every_steps=None,
            evaluate_every_steps=2,
        ),
    )
    assert compute_fingerprint(_description(same)) == compute_fingerprint(_description())
    others = [
        _description(replace(RECIPE, train=replace(RECIPE.train, seed=1))),
        _description(replace(RECIPE, data=replace(RECIPE.data, repeats=4))),
        _description(replace(RECIPE, method=replace(RECIPE.method, mask_ratio=0.5))),
        _description(items=ITEMS[:1]),
        _description(items=[ITEMS[0], MediaItem(path=Path("clips/c.mp4"), kind="video")]),
        _description(init_from="runs/a"),
    ]
    assert len({compute_fingerprint(each) for each in (*others, _description())}) == 7


def test_a_run_that_was_begun_goes_on(tmp_path: Path) -> None:
    _open(tmp_path)
    written = (tmp_path / "recipe.json").read_bytes()
    (tmp_path / "metrics.jsonl").write_text("{}")
    _open(tmp_path)
    assert (tmp_path / "recipe.json").read_bytes() == written
    other = _description(replace(RECIPE, train=replace(RECIPE.train, seed=1)))
    with pytest.raises(ConfigError, match=r"another configuration is there: train\.seed was 0, now 1"):
        _open(tmp_path, other)
    assert (tmp_path / "metrics.jsonl").exists()


def test_another_recipe_is_all_that_is_said_of_it(tmp_path: Path) -> None:
    _open(tmp_path)
    other = describe_run("videomae_smoke", get_recipe("videomae_smoke"), ITEMS, [Path("clips")], None)
    with pytest.raises(ConfigError) as caught:
        _open(tmp_path, other)
    assert caught.value.what == "a run of another recipe is there: siammae_smoke, not videomae_smoke"


def test_data_that_were_moved_are_the_same(tmp_path: Path) -> None:
    def moved(root: Path, names: list[str]) -> dict:
        items = [MediaItem(path=root / name, kind="video") for name in names]
        return describe_run("siammae_smoke", RECIPE, items, [root], None)

    folder = tmp_path / "anywhere"
    folder.mkdir()
    assert moved(folder, ["x/a.mp4", "b.mp4"]) == moved(Path("."), ["x/a.mp4", "b.mp4"])
    assert moved(folder, ["a.mp4"]) == describe_run(
        "siammae_smoke", RECIPE, [MediaItem(path=Path("a.mp4"), kind="video")], [Path("a.mp4")], None
    )
    _open(tmp_path / "run", moved(folder, ["a.mp4", "b.mp4"]))
    with pytest.raises(ConfigError, match="is there: files: 2 before, 1 now"):
        _open(tmp_path / "run", moved(folder, ["a.mp4"]))
    with pytest.raises(ConfigError, match="is there: other files"):
        _open(tmp_path / "run", moved(folder, ["a.mp4", "c.mp4"]))


def test_going_on_in_another_precision_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _open(tmp_path / "run")
    _open(tmp_path / "run")
    assert caplog.messages == []
    _open(tmp_path / "run", device="cuda:0", precision="bf16")
    assert caplog.messages == ["the run started in fp32 on cpu and continues in bf16 on cuda:0"]


def test_fresh_removes_a_run_and_nothing_else(tmp_path: Path) -> None:
    _open(tmp_path)
    (tmp_path / "metrics.jsonl").write_text("{}")
    (tmp_path / "checkpoints" / "step-00000001").mkdir(parents=True)
    (tmp_path / "notes.txt").write_text("mine")
    _open(tmp_path, _description(init_from="runs/a"), fresh=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "recipe.json"]
    assert json.loads((tmp_path / "recipe.json").read_text())["init_from"] == "runs/a"


def test_a_run_killed_while_it_wrote_its_first_file_can_begin_again(tmp_path: Path) -> None:
    (tmp_path / ".recipe.json.partial").write_text('{"recipe": "siam')
    _open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.json"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "not empty and holds no run"),
        ("[1, 2]", "not empty and holds no run"),
        ('{"settings": [1]}', "not empty and holds no run"),
        ("no JSON", r"the recipe\.json of the run there is damaged"),
        ("[" * 100_000, r"the recipe\.json of the run there is damaged"),
        ("\udcff", r"the recipe\.json of the run there is damaged"),
    ],
    ids=["absent", "a list", "no settings", "no JSON", "nested without end", "not UTF-8"],
)
@pytest.mark.parametrize("fresh", [False, True])
def test_a_folder_of_something_else(tmp_path: Path, content: str | None, said: str, fresh: bool) -> None:
    (tmp_path / "thesis.doc").write_text("years of work")
    if content is not None:
        (tmp_path / "recipe.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ConfigError, match=said):
        _open(tmp_path, fresh=fresh)
    assert (tmp_path / "thesis.doc").exists()


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(ConfigError, match="a file is in the way"):
            _open(out)


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
        _open(tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []
