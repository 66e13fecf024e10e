"""All methods on the same clips with the same ViT, for the same time with `--minutes`."""

from kinema.studies.study import Arm, Question, Study
from kinema.video.photometric import COLORS

_FRAMES_ALONE: dict[str, object] = {"data.images": False, "data.image_share": None}
_MAE = {**_FRAMES_ALONE, "method.contrast": 0.0}
_CONTRAST_ALONE = {
    **_FRAMES_ALONE,
    "method.reconstruction": 0.0,
    "method.contrast": 1.0,
    "method.mask_ratio": 0.0,
    "data.transform.photometric.jitter": COLORS.jitter,
    "data.transform.photometric.grey": COLORS.grey,
}
_DINO = {
    "method.masked_tokens": 0.0,
    "method.consistency": 0.0,
    "method.mask_probability": 0.0,
    "method.center_updates": "step",
}


def methods() -> Study:
    """SiamMAE, VideoMAE, ViC-MAE, INO, MAE, DINO, SimCLR, and what needs no training."""
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
            Arm(name="SiamMAE", published=62.0),
            Arm(name="VideoMAE", recipe="videomae_vitt16_cpu", published=39.3),
            Arm(name="ViC-MAE", recipe="vicmae_vitt16_cpu", changes=_FRAMES_ALONE),
            Arm(name="INO", recipe="ino_vitt16_cpu"),
            Arm(name="MAE", recipe="vicmae_vitt16_cpu", changes=_MAE, published=53.5),
            Arm(name="DINO", recipe="ino_vitt16_cpu", changes=_DINO, published=59.5),
            Arm(name="SimCLR", recipe="vicmae_vitt16_cpu", changes=_CONTRAST_ALONE, published=53.9),
        ),
        source="ViT-S/16 on Kinetics-400: SiamMAE's table for itself and VideoMAE, ToBo's for the other three",
        measure="DAVIS-2017 J&F",
    )
