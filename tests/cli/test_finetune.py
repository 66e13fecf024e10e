"""`kinema finetune` from labeled clips to a table, and its refusals."""

import json
from pathlib import Path

import pytest

from kinema.cli import finetune
from kinema.recipes.registry import FINETUNE_RECIPES
from tests.cli.conftest import Command
from tests.labeling.small import write_encoder
from tests.transfer.colored import ENCODER, write_colored

QUICK = (
    "--data.sampling.num-frames",
    4,
    "--data.sampling.stride",
    1,
    "--data.num-workers",
    0,
    "--train.batch-size",
    12,
)


@pytest.fixture(scope="module")
def colored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("colored")
    write_colored(folder / "data")
    write_encoder(folder / "weights", ENCODER)
    return folder


def _given(colored: Path, out: Path) -> list[object]:
    data = ["--dataset", "folders", "--root", colored / "data"]
    return ["finetune", "finetune_cpu", *data, "--weights", colored / "weights", "--out", out, *QUICK]


def test_from_clips_to_a_table(kinema: Command, colored: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    learn = (*_given(colored, out), "--train.steps", 12, "--train.base-lr", 0.2, "--seed", 3)
    done = kinema(*learn)
    assert done.code == 0, done.err
    assert "3 classes, 12 training and 6 test files, 2x1 views of 4 frames of 32 pixels" in done.out
    assert "top-1 100.0" in done.out
    written = json.loads((out / "recipe.json").read_text())["settings"]["train"]
    assert (written["seed"], written["warmup_steps"]) == (3, 1)
    again = kinema(*learn, "--json").answer
    assert (again["done_before"], again["steps"], again["result"]["summary"]["top1"]) == (True, 12, 1.0)
    test = ["--weights", out, "--dataset", "folders", "--root", colored / "data", "--num-workers", 0]
    tested = kinema("finetune", "--evaluate-only", *test, "--reading.crops", 3, "--json").answer
    assert (tested["summary"]["top1"], tested["views"], tested["train_files"]) == (1.0, 6, None)
    other = kinema(*learn, "--fold", 1, "--data.sampling.stride", 2)
    other.require_error(2, "another configuration", "stride was 1, now 2")


@pytest.mark.parametrize("name", FINETUNE_RECIPES)
def test_a_recipe_is_printed_as_it_can_be_typed(kinema: Command, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    received = []
    monkeypatch.setattr(finetune, "_finetune", lambda _name, given: received.append(given))
    lines = [line for line in kinema("recipes", name).out.splitlines() if line.startswith("    --")]
    given = ["--dataset", "x", "--root", "r", "--weights", "w", "--out", "y"]
    done = kinema("finetune", name, *given, *" ".join(lines).split())
    assert done.code == 0, done.err
    recipe = FINETUNE_RECIPES[name]()
    found = received.pop()
    assert (found.method, found.data, found.train, found.views) == (
        recipe.method,
        recipe.data,
        recipe.train,
        recipe.views,
    )


def test_a_dry_run_shows_what_is_resolved(kinema: Command, colored: Path, tmp_path: Path) -> None:
    shown = kinema(*_given(colored, tmp_path / "run"), "--dry-run", "--train.epochs", 20, "--json").answer
    assert (shown["files"], shown["steps"], shown["warmup_steps"]) == (12, 20, 2)
    assert shown["settings"]["method"]["layer_decay"] == 0.75
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--dataset", "folder"], 2, ["did you mean 'folders'"]),
        (["--test", "val"], 3, ["no val"]),
        (["--weights", "nothing"], 4, ["no such file or folder"]),
        (["--weights", "pixels:16"], 4, ["nothing to fine-tune"]),
        (["--data.sampling.num-frames", 5], 2, ["5 frames do not divide into tubelets of 2"]),
        (["--method.image-size", 40], 2, ["not a multiple of patch size"]),
        (["--method.layer-decay", 0], 2, ["layer decay"]),
        (["--train.batch-size", 5], 2, ["--train.batch-size"]),
        (["--seed", -1], 2, ["--train.seed"]),
        (["--train.pictures-every-steps", 5], 2, ["no pictures"]),
    ],
)
def test_settings_that_cannot_work(
    kinema: Command, colored: Path, tmp_path: Path, options: list[object], code: int, words: list[str]
) -> None:
    done = kinema(*_given(colored, tmp_path / "run"), *options)
    done.require_error(code, *words)
    assert not (tmp_path / "run").exists()


def test_classes_that_do_not_belong_together(kinema: Command, colored: Path, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("a.mp4,0\nb.mp4,2\n")
    (tmp_path / "test.csv").write_text("a.mp4,1\nb.mp4,2\n")
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes((colored / "data/train/red/0.mp4").read_bytes())
    words = [*_given(colored, tmp_path / "run"), "--dataset", "list", "--root", tmp_path]
    kinema(*words).require_error(3, "1 tested classes have no training clip (1)")
    (tmp_path / "test.csv").write_text("a.mp4,0\nb.mp4,4\n")
    kinema(*words).require_error(3, "train has 3 classes and test 5")


def test_testing_what_is_no_classifier(kinema: Command, colored: Path) -> None:
    test = ["--evaluate-only", "--dataset", "folders", "--root", colored / "data"]
    kinema("finetune", *test, "--weights", colored / "weights").require_error(4, "an encoder without a classifier")
    kinema("finetune", *test, "--weights", colored / "none").require_error(4, "no readable config.json")
    kinema("finetune", *test).require_error(2, "missing", "--weights")


def test_names(kinema: Command) -> None:
    said = kinema("finetune", "--help").out
    assert all(f"  {name} " in said for name in FINETUNE_RECIPES)
    kinema("finetune").require_error(2, "no recipe given")
    kinema("finetune", "finetune_cpus").require_error(2, "did you mean 'finetune_cpu'")
    kinema("finetune", "siammae_smoke").require_error(2, "`kinema pretrain`")
