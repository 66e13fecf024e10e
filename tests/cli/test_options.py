"""Options as people type them: values, units, choices."""

from pathlib import Path

import pytest

from kinema.cli import pretrain
from kinema.cli.main import COMMANDS
from kinema.protocols.registry import PROTOCOLS
from kinema.recipes.registry import FINETUNE_RECIPES, RECIPES
from tests.cli.conftest import Command


def test_steps_replace_epochs_and_warm_up_keeps_its_share(kinema: Command, inputs: Path, tmp_path: Path) -> None:
    def dry(recipe: str, *options: object) -> dict:
        clips, out = inputs / "clips", tmp_path / "run"
        size = ("--method.encoder.depth", 1, "--method.encoder.image-size", 96, "--method.decoder.depth", 1)
        done = kinema("pretrain", recipe, "--data", clips, "--out", out, "--dry-run", "--json", *size, *options)
        assert done.code == 0, done.err
        return done.answer

    paper = dry("siammae_vits16", "--train.steps", 200)
    assert (paper["settings"]["train"]["epochs"], paper["steps"], paper["warmup_steps"]) == (None, 200, 4)
    assert dry("siammae_vits16", "--train.steps=200", "--train.warmup-steps", 7)["warmup_steps"] == 7
    assert dry("siammae_vits16", "--train.warmup-steps", 10, "--train.batch-size", 4)["warmup_steps"] == 10
    assert dry("siammae_smoke", "--train.warmup-epochs", 6, "--train.batch-size", 4)["warmup_steps"] == 6
    epochs = dry("siammae_smoke", "--train.epochs", 100, "--train.batch-size", 4)
    assert (epochs["settings"]["train"]["steps"], epochs["steps"], epochs["warmup_steps"]) == (None, 100, 10)
    named = dry("siammae_smoke", "--train.base-lr", 0.5, "--method.decoder.width", 12, "--data.transform.flip", 0)
    assert named["peak_lr"] == 0.5 * 8 / 256
    assert named["settings"]["method"]["decoder"]["width"] == 12
    assert named["settings"]["data"]["transform"]["flip"] == 0
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_printed_as_it_can_be_typed(kinema: Command, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    received = []
    monkeypatch.setattr(pretrain, "_pretrain", lambda _name, given: received.append(given))
    lines = [line for line in kinema("recipes", name).out.splitlines() if line.startswith("    --")]
    words = " ".join(lines).split()
    recipe = RECIPES[name]()
    for other in (name, "siammae_smoke", "siammae_vits16", "videomae_smoke", "videomae_vitb16_k400"):
        if type(RECIPES[other]().method) is not type(recipe.method):
            continue
        done = kinema("pretrain", other, "--data", "x", "--out", "y", "--json", *words)
        assert done.code == 0, done.err
        given = received.pop()
        assert (given.method, given.data, given.train) == (recipe.method, recipe.data, recipe.train)
        assert given.json


def test_booleans_are_typed_as_values(kinema: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    received = []
    monkeypatch.setattr(pretrain, "_pretrain", lambda _name, given: received.append(given))
    for value in (True, False):
        kinema("pretrain", "siammae_smoke", "--data", "x", "--out", "y", "--method.memory-positions", value)
        assert received.pop().method.memory_positions is value


def test_a_typed_size_replaces_the_protocol_s(kinema: Command, inputs: Path, tmp_path: Path) -> None:
    given = (inputs / "video.mp4", "--labels", inputs / "mask.png", "--weights", inputs / "weights", "--results-only")
    for number, option in enumerate((["long-side", 80], ["fixed", 48, 80])):
        size = (f"--features.size.{option[0]}", *option[1:], "--features.size.multiple", 16)
        done = kinema("propagate", *given, "--out", tmp_path / str(number), *size, "--json")
        assert done.code == 0, done.err
        assert "features.size.short_side=None" in done.answer["protocol"]


def test_help_names_the_choices(kinema: Command) -> None:
    said = kinema("propagate", "--help").out
    assert all(name in said for name in PROTOCOLS)
    assert "youtube_vos" in kinema("synth", "--help").out
    assert "val, train" in kinema("score", "--help").out


def test_help_names_every_command_and_recipe(kinema: Command) -> None:
    said = kinema("--help").out
    assert all(f"  {name} " in said for name in COMMANDS)
    assert "1 a difference (`weights compare`) or a fault of ours" in said
    assert kinema().code == 2
    said = kinema("pretrain", "--help").out
    assert all(f"  {name} " in said for name in RECIPES)


def test_recipes(kinema: Command) -> None:
    assert set(kinema("recipes", "--json").answer["recipes"]) == {*RECIPES, *FINETUNE_RECIPES}
    one = kinema("recipes", "siammae_vits16", "--json").answer["recipes"]["siammae_vits16"]
    assert "J&F 62.0" in one["description"]
    assert one["settings"]["method"]["mask_ratio"] == 0.95
    assert "--train.base-lr 0.00015" in kinema("recipes", "siammae_vits16").out
