"""SiamMAE's forward pass and loss for one sample at a time, in numpy float64, written from the paper's description.

Pre-norm cross-self decoder, positions on the memory, per-patch normalized target. No tensor library, no batching.
"""

import math

import numpy as np

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def loss(frames: np.ndarray, visible: np.ndarray, weights: dict[str, np.ndarray], config) -> float:
    """frames (B, 2, 3, H, W) uint8, visible (B, V) ids of the future's visible patches -> mean over hidden patches."""
    errors = []
    for pair, ids in zip(frames, visible, strict=True):
        past, future = (patches_of(frame, config.encoder.patch_size) for frame in pair)
        predicted = predict(past, future, list(ids), weights, config)
        for token in range(len(future)):
            if token not in ids:
                target = (future[token] - future[token].mean()) / math.sqrt(future[token].var(ddof=1) + 1e-6)
                errors.append(np.mean((predicted[token] - target) ** 2))
    return float(np.mean(errors))


def patches_of(frame: np.ndarray, size: int) -> np.ndarray:
    """(3, H, W) uint8 -> (N, size*size*3): row by row, inside a patch row, column, channel."""
    pixels = (frame.transpose(1, 2, 0) / 255 - MEAN) / STD
    height, width, _ = pixels.shape
    return np.array(
        [
            pixels[top : top + size, left : left + size].reshape(-1)
            for top in range(0, height, size)
            for left in range(0, width, size)
        ]
    )


def predict(past, future, ids, weights, config) -> np.ndarray:
    enc = {k.removeprefix("encoder."): v for k, v in weights.items() if k.startswith("encoder.")}
    dec = {k.removeprefix("decoder."): v for k, v in weights.items() if k.startswith("decoder.")}
    memory = encode(past, range(len(past)), enc, config.encoder)
    visible = encode(future, ids, enc, config.encoder)
    memory = linear(memory, dec, "embed") + positions(config, config.decoder.width)
    queries = np.repeat(dec["mask_token"][0], 1 + len(future), axis=0)
    queries[[0, *(1 + i for i in ids)]] = linear(visible, dec, "embed")
    x = queries + positions(config, config.decoder.width)
    heads = config.decoder.num_heads
    for k in range(config.decoder.depth):
        b = f"blocks.{k}."
        y, m = norm(x, dec, b + "norm_cross"), norm(memory, dec, b + "norm_memory")
        key, value = np.split(linear(m, dec, b + "cross.kv"), 2, axis=1)
        x = x + linear(attention(linear(y, dec, b + "cross.q"), key, value, heads), dec, b + "cross.proj")
        x = x + self_attention(norm(x, dec, b + "norm_self"), dec, b + "attn", heads)
        x = x + mlp(norm(x, dec, b + "norm_mlp"), dec, b + "mlp")
    return linear(norm(x, dec, "norm"), dec, "pred")[1:]


def encode(patches, ids, weights, config) -> np.ndarray:
    kernel = weights["patch_embed.proj.weight"].transpose(0, 2, 3, 1).reshape(config.width, -1)
    table = weights["pos_embed"][0]
    tokens = [weights["cls_token"][0, 0] + table[0]]
    tokens += [kernel @ patches[i] + weights["patch_embed.proj.bias"] + table[1 + i] for i in ids]
    x = np.array(tokens)
    for k in range(config.depth):
        b = f"blocks.{k}."
        x = x + self_attention(norm(x, weights, b + "norm1"), weights, b + "attn", config.num_heads)
        x = x + mlp(norm(x, weights, b + "norm2"), weights, b + "mlp")
    return norm(x, weights, "norm")


def positions(config, width: int) -> np.ndarray:
    rows, columns = config.encoder.grid
    table = [np.zeros(width)]
    for row in range(rows):
        for column in range(columns):
            angles = [
                [coordinate / 10000 ** (4 * i / width) for i in range(width // 4)] for coordinate in (column, row)
            ]
            table.append(np.concatenate([f(a) for a in angles for f in (np.sin, np.cos)]))
    return np.array(table)


def self_attention(x, weights, name, heads):
    query, key, value = np.split(linear(x, weights, name + ".qkv"), 3, axis=1)
    return linear(attention(query, key, value, heads), weights, name + ".proj")


def attention(query, key, value, heads):
    out = []
    for q, k, v in zip(*(np.split(x, heads, axis=1) for x in (query, key, value)), strict=True):
        scores = q @ k.T / math.sqrt(q.shape[1])
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        out.append(scores / scores.sum(axis=1, keepdims=True) @ v)
    return np.concatenate(out, axis=1)


def mlp(x, weights, name):
    hidden = linear(x, weights, name + ".fc1")
    return linear(hidden * 0.5 * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2))), weights, name + ".fc2")


def linear(x, weights, name):
    return x @ weights[name + ".weight"].T + weights[name + ".bias"]


def norm(x, weights, name):
    centered = x - x.mean(axis=1, keepdims=True)
    scaled = centered / np.sqrt((centered**2).mean(axis=1, keepdims=True) + 1e-6)
    return scaled * weights[name + ".weight"] + weights[name + ".bias"]
