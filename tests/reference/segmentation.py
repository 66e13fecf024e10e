"""J, F and mean IoU of masks pixel by pixel, from the description of the measures."""

import math

import numpy as np


def region_similarity(truth: np.ndarray, predicted: np.ndarray) -> float:
    both = either = 0
    for true, guess in zip(truth.flat, predicted.flat, strict=True):
        both += bool(true) and bool(guess)
        either += bool(true) or bool(guess)
    return both / either if either else 1.0


def boundary_pixels(mask: np.ndarray) -> list[tuple[int, int]]:
    """Pixels that differ from their east, south or south-east neighbor; neighbors outside the image do not count."""
    height, width = mask.shape
    found = []
    for y in range(height):
        for x in range(width):
            neighbors = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
            inside = [mask[there] for there in neighbors if there[0] < height and there[1] < width]
            if any(value != mask[y, x] for value in inside):
                found.append((y, x))
    return found


def boundary_f(truth: np.ndarray, predicted: np.ndarray, tolerance: float = 0.008) -> float:
    radius = tolerance if tolerance >= 1 else math.ceil(tolerance * math.hypot(*truth.shape))
    true_edge, predicted_edge = boundary_pixels(truth), boundary_pixels(predicted)
    if not true_edge and not predicted_edge:
        return 1.0
    if not true_edge or not predicted_edge:
        return 0.0
    precision = _share_near(predicted_edge, true_edge, radius)
    recall = _share_near(true_edge, predicted_edge, radius)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _share_near(pixels: list[tuple[int, int]], others: list[tuple[int, int]], radius: float) -> float:
    near = sum(any(math.dist(pixel, other) <= radius for other in others) for pixel in pixels)
    return near / len(pixels)


def decay(scores: list[float]) -> float:
    """Four bins between five frame numbers, counted from one and rounded half up; each bin holds both its ends."""
    last = len(scores)
    ends = [math.floor(1 + quarter * (last - 1) / 4 + 0.5) for quarter in range(5)]
    first_bin, last_bin = scores[ends[0] - 1 : ends[1]], scores[ends[3] - 1 : ends[4]]
    return sum(first_bin) / len(first_bin) - sum(last_bin) / len(last_bin)


def mean_iou(pairs: list[tuple[np.ndarray, np.ndarray]], num_classes: int) -> float:
    """Over the pixels of all (truth, predicted) pairs together; classes that neither has do not count."""
    scores = []
    for number in range(num_classes):
        both = either = 0
        for truth, predicted in pairs:
            for true, guess in zip(truth.flat, predicted.flat, strict=True):
                if true < num_classes:
                    both += true == number and guess == number
                    either += true == number or guess == number
        if either:
            scores.append(both / either)
    return sum(scores) / len(scores)
