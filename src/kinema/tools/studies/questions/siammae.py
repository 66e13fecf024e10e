"""Ablations of SiamMAE (Gupta et al. 2023, arXiv:2305.14344, section 4.3).

We do not have the cells of tables 2 and 3; orders are those on which reports on the paper agree.
"""

from kinema.tools.studies.study import Arm, Question, Study

_REPORTS = "tables 2 and 3 of the paper, as reports on it describe them; we do not have the cells"
_NO_ORDER = "the paper varies it; we do not have its cells"


def siammae() -> Study:
    """Returns questions about encoder and decoder, masking, frame gap, augmentation, target and patch size."""
    return Study(
        name="siammae",
        about="SiamMAE (Gupta et al. 2023): how predicting a masked future frame teaches correspondence",
        recipe="siammae_demo",
        questions=(_architecture(), _masking(), _gap(), _augmentation(), _target(), _patch()),
    )


def _architecture() -> Question:
    arms = [
        Arm(name=f"{encoder} encoder, {decoder} decoder", changes=_parts(encoder, decoder))
        for encoder in ("siamese", "joint")
        for decoder in ("joint", "cross", "cross-self")
    ]
    siamese, joint = (tuple(arm.name for arm in arms if arm.name.startswith(kind)) for kind in ("siamese", "joint"))
    return Question(
        name="architecture",
        asks="Does the encoder see both frames together, and what does the decoder attend to?",
        arms=tuple(arms),
        order=(siamese[2:], siamese[:2], joint),
        source=_REPORTS,
    )


def _parts(encoder: str, decoder: str) -> dict[str, str]:
    return {"method.encoding": encoder, "method.decoding": decoder.replace("-", "_")}


def _masking() -> Question:
    ratios = (0.5, 0.75, 0.9, 0.95)
    arms = [
        *(Arm(name=f"future {ratio * 100:g} %", changes={"method.mask_ratio": ratio}) for ratio in ratios),
        *(Arm(name=f"both frames {ratio * 100:g} %", changes=_symmetric(ratio)) for ratio in ratios),
    ]
    return Question(
        name="masking",
        asks="How much of the future frame is hidden, and is the past also hidden?",
        arms=tuple(arms),
        order=(("future 95 %",), ("both frames 50 %", "both frames 90 %")),
        source=f"{_REPORTS}: hiding half of both frames is too easy, nine tenths of both too hard",
    )


def _symmetric(ratio: float) -> dict[str, float]:
    return {"method.mask_ratio": ratio, "method.past_mask_ratio": ratio}


def _gap() -> Question:
    gaps = (2, 4, 8, 16)
    fixed = [
        Arm(name=f"always {gap}", changes={"data.sampling.gap_min": gap, "data.sampling.gap_max": gap}) for gap in gaps
    ]
    drawn = Arm(name="drawn from 2 to 16", changes={"data.sampling.gap_min": 2, "data.sampling.gap_max": 16})
    return Question(
        name="gap",
        asks="How many frames (at 30 fps) lie between past and future?",
        arms=(*fixed, drawn),
        source=_NO_ORDER,
    )


def _augmentation() -> Question:
    middle = {"data.transform.scale": (1.0, 1.0), "data.transform.flip": 0.0}
    colored = {"data.transform.photometric.jitter": (0.4, 0.4, 0.4, 0.1)}
    return Question(
        name="augmentation",
        asks="The center of the frame, crop and flip, or also color jitter?",
        arms=(
            Arm(name="middle, no flip", changes=middle),
            Arm(name="crop, flip"),
            Arm(name="crop, flip, color", changes=colored),
        ),
        order=(("crop, flip",), ("crop, flip, color",)),
        source="CropMAE's ablation of the same option, as notes on it report: 60.4 without, 56.2 with color jitter",
    )


def _target() -> Question:
    return Question(
        name="target",
        asks="Are target patches normalized by their mean and contrast?",
        arms=(Arm(name="normalized"), Arm(name="raw pixels", changes={"method.target": "raw"})),
        source=_NO_ORDER,
    )


def _patch() -> Question:
    return Question(
        name="patch",
        asks="How large is a patch?",
        arms=(
            Arm(name="8 pixels", changes={"method.encoder.patch_size": 8}, published=71.4),
            Arm(name="16 pixels", changes={"method.encoder.patch_size": 16}, published=62.0),
        ),
        source="table 1 of the paper: ViT-S/8 and ViT-S/16",
        measure="DAVIS-2017 J&F",
    )
