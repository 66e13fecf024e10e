"""Ablations of VideoMAE (Tong et al. 2022, arXiv:2203.12602, section 4.2: ViT-B, 800 epochs).

Published numbers are recalled from the paper's tables; the printed source says so.
"""

from kinema.tools.studies.study import Arm, Question, Study

_SOURCE = "the paper's ablation of it, ViT-B, 800 epochs, from memory of its tables"
_SIXTEEN = {"method.encoder.num_frames": 16, "data.sampling.num_frames": 16, "data.sampling.stride": 2}
"""Settings for clips of 16 frames. The recipe's 8 frames are 4 tubelets long, too few to compare frame masks."""
_SSV2 = "top-1 on Something-Something V2"


def videomae() -> Study:
    """Returns questions about masking, target, loss, decoder depth, size, and the number and domain of clips."""
    return Study(
        name="videomae",
        about="VideoMAE (Tong et al. 2022): why hiding nine tenths of a clip is a good training task",
        recipe="videomae_demo",
        questions=(_masking(), _target(), _loss(), _depth(), _size(), _data("steps"), _data("epochs"), _domain()),
    )


def _masking() -> Question:
    published = {("tube", 0.75): 68.0, ("tube", 0.9): 69.6, ("random", 0.9): 68.3, ("frame", 0.9): 61.5}
    return Question(
        name="masking",
        asks="Which tubelets are hidden, and how many?",
        arms=tuple(
            Arm(
                name=f"{kind} {ratio * 100:g} %",
                changes={**_SIXTEEN, "method.mask": kind, "method.mask_ratio": ratio},
                published=published.get((kind, ratio)),
            )
            for kind in ("tube", "random", "frame")
            for ratio in ((0.75, 0.9) if kind == "frame" else (0.75, 0.9, 0.95))
        ),
        source=f"{_SOURCE}; of 8 time steps, frame masks of 90 and 95 % hide 7, as the paper's of 87.5 %",
        measure=_SSV2,
    )


def _target() -> Question:
    return Question(
        name="target",
        asks="Which pixels of a hidden tubelet are predicted?",
        arms=(
            Arm(name="all frames, normalized", published=69.6),
            Arm(name="every other frame", changes={"method.target_frames": "half"}),
            Arm(name="the center frame", changes={"method.target_frames": "center"}, published=63.0),
            Arm(name="raw pixels", changes={"method.target": "raw"}),
        ),
        source=_SOURCE,
        measure=_SSV2,
    )


def _loss() -> Question:
    return Question(
        name="loss",
        asks="Which loss compares prediction and target?",
        arms=(
            Arm(name="squared", published=69.6),
            Arm(name="absolute", changes={"method.loss": "l1"}, published=69.1),
            Arm(name="smooth L1", changes={"method.loss": "smooth_l1"}, published=68.9),
        ),
        source=_SOURCE,
        measure=_SSV2,
    )


def _depth() -> Question:
    published = {1: 68.5, 2: 69.2, 4: 69.6, 8: 69.3}
    return Question(
        name="decoder",
        asks="How many blocks does the decoder have?",
        arms=tuple(
            Arm(name=f"{depth} blocks", changes={"method.decoder.depth": depth}, published=number)
            for depth, number in published.items()
        ),
        source=_SOURCE,
        measure=_SSV2,
    )


def _size() -> Question:
    sizes = {"wide as ViT-Ti": (192, 3), "wide as ViT-S": (384, 6), "wide as ViT-B": (768, 12)}
    return Question(
        name="size",
        asks="How wide is the network?",
        arms=tuple(
            Arm(name=name, changes={"method.encoder.width": width, "method.encoder.num_heads": heads})
            for name, (width, heads) in sizes.items()
        ),
        order=(("wide as ViT-B",), ("wide as ViT-S",)),
        source="the paper's Kinetics-400 results: 81.5 for ViT-B, 79.0 for ViT-S; here all have the recipe's depth",
        measure="top-1 on Kinetics-400",
    )


def _data(equal: str) -> Question:
    shares = (1.0, 0.5, 0.25, 0.1, 0.05)
    return Question(
        name=f"data_at_equal_{equal}",
        asks=f"How many of the clips are needed, at equal {equal}?",
        arms=tuple(
            Arm(name=f"{share * 100:g} % of the clips", share=share, step_share=1.0 if equal == "steps" else share)
            for share in shares
        ),
        order=tuple((f"{share * 100:g} % of the clips",) for share in shares),
        source="more clips are better in every table of the paper, but few clips of the target domain already help",
    )


def _domain() -> Question:
    return Question(
        name="domain",
        asks="Is pre-training better on clips of the target data set or on others?",
        arms=(
            Arm(name="the set's own clips", files="target", published=91.3),
            Arm(name="as many others", files="as many others"),
            Arm(name="all others", files="others", published=96.1),
        ),
        source="the paper's UCF101 results: 9,500 clips of its own against 240,000 of Kinetics-400; on "
        "Something-Something V2 its own 169,000 are better (69.6 and 68.5); from memory of its tables",
        measure="top-1 on UCF101",
    )
