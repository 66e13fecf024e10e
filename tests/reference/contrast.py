"""Losses between two views, one number at a time, written from the papers' formulas in plain Python."""

import math


def cosine(left, right) -> float:
    dot = sum(a * b for a, b in zip(left, right, strict=True))
    return dot / math.sqrt(sum(a * a for a in left)) / math.sqrt(sum(b * b for b in right))


def nt_xent(first, second, temperature: float) -> float:
    """-log exp(s(i, j) / t) / sum over k != i of exp(s(i, k) / t), the mean over all 2 N views i and their pairs j."""
    views, count = [*first, *second], len(first)
    total = 0.0
    for anchor in range(2 * count):
        positive, everything = (anchor + count) % (2 * count), 0.0
        for other in range(2 * count):
            if other != anchor:
                everything += math.exp(cosine(views[anchor], views[other]) / temperature)
        total -= math.log(math.exp(cosine(views[anchor], views[positive]) / temperature) / everything)
    return total / (2 * count)


def info_nce(queries, keys, temperature: float) -> float:
    """-log exp(q k+ / t) / sum over all keys of exp(q k / t), the mean over queries."""
    total = 0.0
    for number, query in enumerate(queries):
        everything = 0.0
        for key in keys:
            everything += math.exp(cosine(query, key) / temperature)
        total -= math.log(math.exp(cosine(query, keys[number]) / temperature) / everything)
    return total / len(queries)


def vicreg(first, second) -> tuple[float, float, float]:
    count, width = len(first), len(first[0])
    invariance = 0.0
    for one, other in zip(first, second, strict=True):
        for left, right in zip(one, other, strict=True):
            invariance += (left - right) ** 2 / (count * width)
    variance = covariance = 0.0
    for view in (first, second):
        means = [sum(row[channel] for row in view) / count for channel in range(width)]
        for one in range(width):
            for other in range(width):
                product = sum((row[one] - means[one]) * (row[other] - means[other]) for row in view) / (count - 1)
                if one == other:
                    variance += max(0.0, 1 - math.sqrt(product + 1e-4)) / width / 2
                else:
                    covariance += product**2 / width
    return invariance, variance, covariance
