"""What changes while a network trains, as pure functions of the share of the training that is done."""

import math


def cosine(start: float, end: float, progress: float) -> float:
    """From `start` to `end` along half a cosine: teacher momentum and weight decay of DINO (Caron et al. 2021).

    progress: share of the training done, in [0, 1].
    """
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * progress))


def linear(start: float, end: float, progress: float, *, until: float) -> float:
    """From `start` in a straight line to `end`, reached when the share `until` of the training is done, and then `end`.

    until: 0 for `end` from the beginning.
    """
    return end if progress >= until else start + (end - start) * progress / until
