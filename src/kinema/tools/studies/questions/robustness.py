"""What each method's features withstand: the networks of the study `methods`, by factor on synthetic dials."""

from dataclasses import replace

from kinema.tools.studies.questions.methods import methods
from kinema.tools.studies.study import Study


def robustness() -> Study:
    """The first question of `methods`; `--evaluate.dials` measures its networks by factor."""
    compared = methods()
    question = compared.questions[0]
    return replace(
        compared,
        name="robustness",
        about="robustness by method: what deformation, occlusion, viewpoint, blur, noise and compression cost "
        "(measure it with --evaluate.dials FOLDER)",
        questions=(
            replace(
                question,
                name="networks",
                asks="Whose features withstand what?",
                arms=tuple(replace(arm, published=None) for arm in question.arms),
                order=(),
                measure="",
                source="no paper compares these methods by factor",
            ),
        ),
    )
