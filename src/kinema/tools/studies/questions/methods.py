"""All methods on the same clips with the same ViT, and with `--minutes` for the same time.

The study `robustness` measures the same networks by factor of difficulty.
"""

from dataclasses import replace

from kinema.tools.studies.study import Arm, Question, Study
from kinema.video.photometric import COLORS

_VICMAE = "vicmae_vitt16_videos_cpu"
_MAE = {"method.contrast": 0.0}
"""MAE that hides half of each frame, as the ViC-MAE recipe does; the paper hides three quarters."""
_CONTRAST_ALONE = {
    "method.reconstruction": 0.0,
    "method.contrast": 1.0,
    "method.mask_ratio": 0.0,
    "data.transform.photometric.jitter": COLORS.jitter,
    "data.transform.photometric.gray": COLORS.gray,
}
"""SimCLR with two frames of a video as views, color augmentation of all clips, and the mean token."""
_DINO = {
    "method.masked_tokens": 0.0,
    "method.consistency": 0.0,
    "method.mask_probability": 0.0,
    "method.center_updates": "step",
}
"""DINO: INO without its additions; the views are still of two frames."""


def methods() -> Study:
    """Returns the comparison of all methods with MAE, DINO, SimCLR, and networks that need no training."""
    return Study(
        name="methods",
        about="all methods: the same clips, the same ViT-Ti/16, the same steps or minutes",
        recipe="siammae_vitt16_cpu",
        questions=(_networks(),),
    )


def _networks() -> Question:
    return Question(
        name="networks",
        asks="What does each method learn from the same clips?",
        arms=(
            Arm(name="raw pixels", weights="pixels:16"),
            Arm(name="untrained", is_trained=False),
            Arm(name="untrained, of tubelets", recipe="videomae_vitt16_cpu", is_trained=False),
            Arm(name="SiamMAE", published=58.1),
            Arm(name="VideoMAE", recipe="videomae_vitt16_cpu"),
            Arm(name="ViC-MAE", recipe=_VICMAE),
            Arm(name="INO", recipe="ino_vitt16_cpu"),
            Arm(name="MAE, half hidden", recipe=_VICMAE, changes=_MAE, published=53.5),
            Arm(name="DINO, across frames", recipe="ino_vitt16_cpu", changes=_DINO, published=59.5),
            Arm(name="SimCLR, across frames", recipe=_VICMAE, changes=_CONTRAST_ALONE, published=53.9),
        ),
        source="table 5 of ToBo, ViT-S/16, 400 epochs of Kinetics-400; it has no numbers for the other methods",
        measure="DAVIS-2017 J&F",
    )


def robustness() -> Study:
    """Returns the question of `methods` without published numbers, to be measured with `--evaluate.dials`."""
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
                asks="Which features withstand which difficulty?",
                arms=tuple(replace(arm, published=None) for arm in question.arms),
                order=(),
                measure="",
                source="no paper compares these methods by factor",
            ),
        ),
    )
