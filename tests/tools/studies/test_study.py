from itertools import pairwise

import pytest

from kinema.errors import ConfigError
from kinema.recipes.registry import get_recipe
from kinema.runs.build import build_method
from kinema.tools.studies.questions.methods import methods
from kinema.tools.studies.registry import STUDIES, get_study
from kinema.tools.studies.study import Arm, Question, Study, apply_changes
from kinema.tools.studies.study_plan import choose_share, plan_run

STUDY = Study(name="s", about="", recipe="siammae_smoke", questions=())


@pytest.mark.parametrize("name", STUDIES)
def test_every_arm_of_every_study_is_a_recipe_that_can_be_built(name: str) -> None:
    study = get_study(name)
    for question in study.questions:
        runs = [plan_run(study, arm, seed=0, steps=100) for arm in question.arms]
        measured = {(run.name, run.part, run.layer) for run in runs}
        assert len(measured) == len(runs), f"two arms of {question.name} measure one network"
        assert all(len(rank) for rank in question.ranks())
        for run in runs:
            build_method(run.recipe.method, seed=0)


def test_changes_reach_nested_settings_and_several_of_one_part_at_once() -> None:
    recipe = get_recipe("siammae_smoke")
    changes = {"method.encoder.width": 64, "method.encoder.num_heads": 4, "method.mask_ratio": 0.5, "train.seed": 3}
    changed = apply_changes(recipe, changes)
    assert (changed.method.encoder.width, changed.method.encoder.num_heads) == (64, 4)
    assert (changed.method.mask_ratio, changed.train.seed, changed.data) == (0.5, 3, recipe.data)


def test_a_setting_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"no setting 'mask_ration'.*did you mean 'mask_ratio'"):
        apply_changes(get_recipe("siammae_smoke"), {"method.mask_ration": 0.5})


def test_a_refused_value_names_study_and_arm() -> None:
    arm = Arm(name="odd", changes={"method.encoder.num_heads": 5})
    with pytest.raises(ConfigError, match="study s, odd, recipe siammae_smoke"):
        plan_run(STUDY, arm, seed=0, steps=None)


def test_arms_of_the_same_settings_share_a_run_and_seeds_do_not() -> None:
    plain, named = Arm(name="plain"), Arm(name="ratio", changes={"method.mask_ratio": 0.75})
    assert plan_run(STUDY, plain, seed=0, steps=None).name == plan_run(STUDY, named, seed=0, steps=None).name
    others = [
        plan_run(STUDY, plain, seed=1, steps=None),
        plan_run(STUDY, plain, seed=0, steps=7),
        plan_run(STUDY, Arm(name="half", share=0.5), seed=0, steps=None),
        plan_run(STUDY, Arm(name="untrained", is_trained=False), seed=0, steps=None),
    ]
    assert len({run.name for run in others} | {plan_run(STUDY, plain, seed=0, steps=None).name}) == 5


def test_steps_scale_the_warm_up_with_them() -> None:
    """The recipe has 20 steps, 2 of them warm-up."""
    train = plan_run(STUDY, Arm(name="x", step_share=0.5), seed=0, steps=100).recipe.train
    assert (train.steps, train.warmup_steps, train.epochs) == (50, 5, None)


def test_a_recipe_of_epochs_needs_steps() -> None:
    with pytest.raises(ConfigError, match="counts epochs"):
        plan_run(STUDY, Arm(name="x"), seed=0, steps=None, recipe="siammae_vits16")
    assert plan_run(STUDY, Arm(name="x"), seed=0, steps=30, recipe="siammae_vits16").steps == 30


def test_another_length_or_another_method_is_refused() -> None:
    with pytest.raises(ConfigError, match="0 steps"):
        plan_run(STUDY, Arm(name="x"), seed=0, steps=0)
    with pytest.raises(ConfigError, match="ino_smoke is of another method"):
        plan_run(STUDY, Arm(name="x"), seed=0, steps=1, recipe="ino_smoke")


def test_shares_are_nested() -> None:
    names = [str(number) for number in range(40)]
    shares = [choose_share(names, share) for share in (0.05, 0.1, 0.25, 0.5, 1.0)]
    assert [len(share) for share in shares] == [2, 4, 10, 20, 40]
    for smaller, larger in pairwise(shares):
        assert set(smaller) < set(larger)


def test_published_numbers_give_an_order() -> None:
    arms = tuple(Arm(name=name, published=number) for name, number in (("a", 1.0), ("b", None), ("c", 2.0), ("d", 1.0)))
    question = Question(name="q", asks="", arms=arms, source="")
    assert question.ranks() == (("c",), ("a", "d"))
    with pytest.raises(ValueError, match="question q"):
        Question(name="q", asks="", arms=arms, order=(("e",),), source="")


def test_robustness_asks_for_the_runs_of_methods() -> None:
    """In one folder nothing is trained twice."""
    compared, again = methods(), get_study("robustness")
    arms = compared.questions[0].arms
    assert [arm.name for arm in again.questions[0].arms] == [arm.name for arm in arms]
    for arm, same in zip(arms, again.questions[0].arms, strict=True):
        one, other = (plan_run(study, each, seed=0, steps=10) for study, each in ((compared, arm), (again, same)))
        assert one.name == other.name


def test_unknown_names_get_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="did you mean 'siammae'"):
        get_study("siamae")
    with pytest.raises(ConfigError, match="did you mean 'masking'"):
        get_study("siammae").only(["maskng"])
    assert [question.name for question in get_study("siammae").only(["gap", "masking"]).questions] == [
        "gap",
        "masking",
    ]
