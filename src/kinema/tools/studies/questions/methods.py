"""All methods on the same clips with the same ViT, for the same time with `--minutes`."""

from kinema.tools.studies.study import Arm, Question, Study
from kinema.video.photometric import COLORS

_VICMAE = "vicmae_vitt16_videos_cpu"
_MAE = {"method.contrast": 0.0}
"""Hides half of each frame, as that recipe does; the paper hides three quarters."""
_CONTRAST_ALONE = {
    "method.reconstruction": 0.0,
    "method.contrast": 1.0,
    "method.mask_ratio": 0.0,
    "data.transform.photometric.jitter": COLORS.jitter,
    "data.transform.photometric.gray": COLORS.gray,
}
"""SimCLR with two frames of a video as views, colors always, and the mean token."""
_DINO = {
    "method.masked_tokens": 0.0,
    "method.consistency": 0.0,
    "method.mask_probability": 0.0,
    "method.center_updates": "step",
}
"""INO without what it adds to DINO; views are of two frames, as there."""


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
            Arm(name="SiamMAE", published=58.1),
            Arm(name="VideoMAE", recipe="videomae_vitt16_cpu"),
            Arm(name="ViC-MAE", recipe=_VICMAE),
            Arm(name="INO", recipe="ino_vitt16_cpu"),
            Arm(name="MAE, half hidden", recipe=_VICMAE, changes=_MAE, published=53.5),
            Arm(name="DINO, across frames", recipe="ino_vitt16_cpu", changes=_DINO, published=59.5),
            Arm(name="SimCLR, across frames", recipe=_VICMAE, changes=_CONTRAST_ALONE, published=53.9),
        ),
        source="ToBo's table 5, ViT-S/16, 400 epochs of Kinetics-400; it has no number of the other methods",
        measure="DAVIS-2017 J&F",
    )
