"""PCK joint by joint, from the description of the measure."""

import math

import numpy as np


def pck(clips: list[tuple[np.ndarray, np.ndarray]], threshold: float) -> float:
    """Mean over joint kinds of the share that lies within `threshold`; clips: (truth, predicted), each (T, J, 2)."""
    num_joints = clips[0][0].shape[1]
    shares = []
    for joint in range(num_joints):
        correct = total = 0
        for truth, predicted in clips:
            for frame in range(1, len(truth)):  # the first is given
                if not predicted[frame, joint, 0] >= 0:
                    continue
                total += 1
                box = [truth[frame, k] for k in range(num_joints) if predicted[frame, k, 0] >= 0]
                wide = max(x for x, _ in box) - min(x for x, _ in box)
                high = max(y for _, y in box) - min(y for _, y in box)
                unit = 0.6 * math.hypot(wide, high)
                apart = math.dist(truth[frame, joint], predicted[frame, joint])
                correct += unit > 0 and apart / unit <= threshold
        if total:
            shares.append(correct / total)
    return sum(shares) / len(shares)
