"""Ablations of ViC-MAE with a small network (Hernandez et al. 2023, arXiv:2303.12001).

We know the paper's numbers at second hand: linear probes of a ViT-B/16 on ImageNet-1k, in percent.
"""

from dataclasses import replace

from kinema.tools.studies.study import Arm, Question, Study
from kinema.video.photometric import COLORS
from kinema.video.sampling import Clips

_MEASURE = "ImageNet linear top-1, ViT-B/16"
_SOURCE = "the paper's ablation of {}, as a third party reports it"


def vicmae() -> Study:
    """Returns questions about the gap between frames, pooling, negatives, augmentation, images and the two losses."""
    return Study(
        name="vicmae",
        about="ViC-MAE (Hernandez et al. 2023): frame gap, pooling, negatives, augmentation by kind",
        recipe="vicmae_demo",
        questions=(_gap(), _pooling(), _negatives(), _augmentation(), _images(), _objectives()),
    )


def _gap() -> Question:
    def fix_gap(low: int | float, unit: str) -> dict[str, object]:
        names = ("gap_min", "gap_max")
        return {**{f"data.sampling.{name}": low for name in names}, "data.sampling.unit": unit}

    return Question(
        name="gap",
        asks="How far apart are the two frames?",
        arms=(
            Arm(name="one frame twice", changes=fix_gap(0, "frames"), published=63.25),
            Arm(name="consecutive, 4 frames", changes=fix_gap(4, "frames"), published=65.25),
            Arm(name="distant, 1.06 s", published=67.66),
        ),
        source=_SOURCE.format("the gap"),
        measure=_MEASURE,
    )


def _pooling() -> Question:
    published = {"mean": 67.66, "max": 67.01, "gem": 66.92, "class": None, "attention": None}
    return Question(
        name="pooling",
        asks="How are the tokens of a view pooled into one vector?",
        arms=tuple(
            Arm(name=kind, changes={"method.pooling": kind}, published=number) for kind, number in published.items()
        ),
        source=_SOURCE.format("pooling"),
        measure=_MEASURE,
    )


def _negatives() -> Question:
    heads = {"method.predictor.layers": 2, "method.predictor.hidden": 128, "method.projector.last_norm": True}
    return Question(
        name="negatives",
        asks="Do negatives help?",
        arms=(
            Arm(name="InfoNCE"),
            Arm(name="VICReg", changes={"method.loss": "vicreg"}),
            Arm(name="SimSiam", changes={"method.loss": "simsiam", "method.target": "stopped", **heads}),
        ),
        order=(("InfoNCE",), ("VICReg", "SimSiam")),
        source="the paper finds negatives better than none; we do not have its numbers",
    )


def _augmentation() -> Question:
    no_colors = {
        "data.image_transform.photometric.jitter": (0.0, 0.0, 0.0, 0.0),
        "data.image_transform.photometric.gray": 0.0,
        "data.image_transform.photometric.blur": 0.0,
    }
    colors_of_videos = {"data.transform.photometric": replace(COLORS, blur=0.5)}
    no_crops = {
        f"data.{kind}.{name}": value
        for kind in ("transform", "image_transform")
        for name, value in (("scale", (1.0, 1.0)), ("flip", 0.0))
    }
    return Question(
        name="augmentation",
        asks="Which augmentation makes the views: colors of images, crops, or both?",
        arms=(
            Arm(name="colors alone", changes=no_crops, published=65.40),
            Arm(name="crops alone", changes=no_colors, published=66.03),
            Arm(name="both", published=67.66),
            Arm(name="both, and colors of videos", changes=colors_of_videos),
        ),
        source=_SOURCE.format("augmentation"),
        measure=_MEASURE,
    )


def _images() -> Question:
    still = {
        "method.images_as_video": True,
        "method.encoder.num_frames": 2,
        "method.encoder.tubelet_size": 2,
        "method.encoder.positions": "sincos_3d",
        "data.sampling": Clips(num_frames=4, stride=0.53, unit="seconds"),
    }
    return Question(
        name="images",
        asks="Are images used in addition to videos, and how?",
        arms=(
            Arm(name="videos and images"),
            Arm(name="videos alone", changes={"data.image_share": 0.0}),
            Arm(name="images alone", changes={"data.image_share": 1.0}),
            Arm(name="images as still videos", changes=still),
        ),
        order=(("videos and images",), ("videos alone",)),
        source="the paper learns from both and finds repeated images worse, but an encoder of clips differs in "
        "more than that; we do not have its cells",
    )


def _objectives() -> Question:
    return Question(
        name="objectives",
        asks="What does each of the two losses contribute?",
        arms=(
            Arm(name="untrained", is_trained=False),
            Arm(name="both losses"),
            Arm(name="reconstruction alone", changes={"method.contrast": 0.0}),
            Arm(
                name="contrast alone",
                changes={"method.reconstruction": 0.0, "method.contrast": 1.0, "method.mask_ratio": 0.0},
            ),
        ),
        source="the paper's comparison with MAE, at another scale",
    )
