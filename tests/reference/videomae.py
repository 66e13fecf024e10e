"""VideoMAE's forward pass and loss for one clip at a time, in numpy float64, written from the paper's description.

Joint space-time attention over visible tubelets, a decoder over visible tokens and mask tokens, targets normalized a
channel at a time. No tensor library, no batching.
"""

import math

import numpy as np

from tests.reference.siammae import linear, mlp, norm, self_attention

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def loss(frames, visible, targets, weights, config) -> float:
    """frames (B, T, 3, H, W) uint8, visible (B, V) and targets (B, M) token numbers -> mean over the targets."""
    errors = []
    for clip, seen, asked in zip(frames, visible, targets, strict=True):
        pixels = tubelets_of(clip / 255, config.encoder)
        predicted = predict(pixels, list(seen), list(asked), weights, config)
        errors += [np.mean((predicted[k] - target_of(pixels[token])) ** 2) for k, token in enumerate(asked)]
    return float(np.mean(errors))


def tubelets_of(clip: np.ndarray, encoder) -> list[np.ndarray]:
    """(T, 3, H, W) -> a (values, 3) array a token: time, then row, then column, within a token likewise."""
    size, depth = encoder.patch_size, encoder.tubelet_size
    frames = clip.transpose(0, 2, 3, 1)
    length, height, width, _ = frames.shape
    return [
        frames[start : start + depth, top : top + size, left : left + size].reshape(-1, 3)
        for start in range(0, length, depth)
        for top in range(0, height, size)
        for left in range(0, width, size)
    ]


def target_of(pixels: np.ndarray) -> np.ndarray:
    """(values, 3) in [0, 1] -> each channel less its mean, over its standard deviation plus 1e-6."""
    channels = [(column - column.mean()) / (column.std(ddof=1) + 1e-6) for column in pixels.T]
    return np.stack(channels, axis=1).reshape(-1)


def predict(pixels, visible, targets, weights, config) -> np.ndarray:
    enc = {k.removeprefix("encoder."): v for k, v in with_key_bias(weights).items() if k.startswith("encoder.")}
    dec = {k.removeprefix("decoder."): v for k, v in with_key_bias(weights).items() if k.startswith("decoder.")}
    kernel = enc["patch_embed.proj.weight"].transpose(0, 2, 3, 4, 1).reshape(config.encoder.width, -1)
    x = np.array(
        [
            kernel @ ((pixels[i] - MEAN) / STD).reshape(-1)
            + enc["patch_embed.proj.bias"]
            + position(i, config.encoder.width)
            for i in visible
        ]
    )
    x = norm(blocks(x, enc, config.encoder.depth, config.encoder.num_heads), enc, "norm")
    width = config.decoder.width
    seen = [token @ dec["embed.weight"].T + position(i, width) for token, i in zip(x, visible, strict=True)]
    holes = [dec["mask_token"][0, 0] + position(i, width) for i in targets]
    y = blocks(np.array(seen + holes), dec, config.decoder.depth, config.decoder.num_heads)
    return linear(norm(y[len(seen) :], dec, "norm"), dec, "pred")


def blocks(x, weights, depth, heads):
    for k in range(depth):
        b = f"blocks.{k}."
        x = x + self_attention(norm(x, weights, b + "norm1"), weights, b + "attn", heads)
        x = x + mlp(norm(x, weights, b + "norm2"), weights, b + "mlp")
    return x


def position(number: int, width: int) -> np.ndarray:
    angles = [number / 10000 ** (2 * (channel // 2) / width) for channel in range(width)]
    return np.array([math.cos(a) if channel % 2 else math.sin(a) for channel, a in enumerate(angles)])


def with_key_bias(weights):
    """The weights with query, key and value biases as one, that of the key zero."""
    full = dict(weights)
    for name in [name for name in weights if name.endswith("q_bias")]:
        query, value = weights[name], weights[name.replace("q_bias", "v_bias")]
        full[name.replace("q_bias", "bias")] = np.concatenate([query, np.zeros_like(query), value])
    return full
