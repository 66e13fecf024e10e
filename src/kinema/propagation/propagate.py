"""Label propagation: every token of a frame takes the mean label of the most similar tokens of earlier frames.

Streaming: frames come one by one, and only the context is kept. Exact: the result is that of the dense procedure (all
tokens against all tokens, then a window mask, then top-k), but a square of queries meets only the part of each context
frame that its windows can reach, so neither an N x N affinity nor an N x N mask ever exists. The settings and their
sources are in `config.PropagationConfig`.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from kinema.errors import KinemaError
from kinema.propagation.config import PropagationConfig


@dataclass(frozen=True, eq=False)  # compared by identity: the padding repeats one frame, and is counted
class _Frame:
    features: Float[Tensor, "h w D"]  # of unit length
    labels: Float[Tensor, "h w C"]


class Propagator:
    """Carries soft labels from frame to frame: `start`, then `step` (or `add_reference`) for each further frame."""

    def __init__(self, config: PropagationConfig, *, device: torch.device | str = "cpu") -> None:
        self.config = config
        self.device = torch.device(device)
        self._references: list[_Frame] = []
        self._recent: deque[_Frame] = deque(maxlen=config.context)
        self._num_channels = 0

    def start(self, features: Float[Tensor, "h w D"], labels: Float[Tensor, "h w C"]) -> None:
        """Forgets everything and begins with the first frame.

        features: any scale, only their direction counts. labels: channel 0 is the background, one channel an object;
        soft values are welcome.
        """
        first = _Frame(self._unit(features), labels.to(self.device, torch.float32))
        self._num_channels = labels.shape[-1]
        self._references = [first]
        self._recent.clear()
        if self.config.padding == "first_frame":
            self._recent.extend([first] * self.config.context)

    @torch.no_grad()
    def step(self, features: Float[Tensor, "h w D"]) -> Float[Tensor, "h w C"]:
        """The soft labels of the next frame, which joins the context."""
        query = self._unit(self._checked(features))
        labels = self._predict(query)
        self._recent.append(_Frame(query, labels))
        return labels

    @torch.no_grad()
    def add_reference(
        self,
        features: Float[Tensor, "h w D"],
        labels: Float[Tensor, "h w G"],
        *,
        channels: Sequence[int] | None = None,
    ) -> Float[Tensor, "h w C"]:
        """The soft labels of the next frame, some of which are given; it stays in the context for good.

        A channel beyond those known so far opens a new object; a known one is corrected on this frame.
        channels: the objects that `labels` tells about, by default those it shows; one named here and absent from
        `labels` is said to be absent from the frame. Where given objects leave room, the others keep their predicted
        share, and what a corrected object loses goes to the background.
        """
        query = self._unit(self._checked(features))
        given = labels.to(self.device, torch.float32)
        if channels is None:
            channels = [c for c in range(1, given.shape[-1]) if given[..., c].any()]
        if not all(0 < c < given.shape[-1] for c in channels):
            raise KinemaError(f"channels {list(channels)} are not objects of {given.shape[-1]} label channels")
        self._num_channels = max(self._num_channels, given.shape[-1])
        merged = _override(self._predict(query), given, list(channels))
        reference = _Frame(query, merged)
        self._references.append(reference)
        if self.config.padding == "first_frame":
            self._recent.append(reference)
        return merged

    def _unit(self, features: Tensor) -> Tensor:
        return F.normalize(features.to(self.device, torch.float32), dim=-1)

    def _checked(self, features: Tensor) -> Tensor:
        if not self._references:
            raise KinemaError("propagation has no first frame", fix="call start before step or add_reference")
        expected = self._references[0].features.shape
        if features.shape != expected:
            raise KinemaError(f"features of shape {tuple(features.shape)} after {tuple(expected)}")
        return features

    def _predict(self, query: Tensor) -> Tensor:
        config, (h, w, _) = self.config, query.shape
        covered, unlimited = (self._references, []) if config.window_covers_first else ([], self._references)
        frames, copies, affinity, sources = [], [], [], []
        for group, windowed in ((Counter([*covered, *self._recent]), True), (Counter(unlimited), False)):
            if group:
                cosines, found = _most_similar(query, [frame.features for frame in group], config, windowed=windowed)
                affinity.append(cosines)
                sources.append(found + len(frames) * h * w)
                frames += group.keys()
                copies += group.values()

        best, order = torch.cat(affinity, dim=1).topk(config.top_k, dim=1)  # (N, k), best first
        chosen = torch.cat(sources, dim=1).gather(1, order)
        weights = _weights(best, torch.tensor(copies, device=self.device)[chosen // (h * w)], config)
        labels = torch.cat([_widened(frame.labels, self._num_channels) for frame in frames])  # (F*h, w, C)
        return F.embedding_bag(chosen, labels.flatten(0, 1), per_sample_weights=weights, mode="sum").view(h, w, -1)


@torch.no_grad()
def propagate(
    features: Iterable[Float[Tensor, "h w D"]],
    first_labels: Float[Tensor, "h w C"],
    config: PropagationConfig,
    *,
    device: torch.device | str = "cpu",
) -> Iterator[Float[Tensor, "h w C"]]:
    """The soft labels of every frame, as the frames' features come; those of the first are the given ones."""
    propagator = Propagator(config, device=device)
    for index, frame in enumerate(features):
        if index == 0:
            propagator.start(frame, first_labels)
            yield first_labels.to(propagator.device, torch.float32)
        else:
            yield propagator.step(frame)


def _most_similar(
    query: Float[Tensor, "h w D"], keys: list[Tensor], config: PropagationConfig, *, windowed: bool
) -> tuple[Float[Tensor, "N k"], Int64[Tensor, "N k"]]:
    """The k largest cosines of every query with the keys, and the keys' indices in (frame, row, column) order.

    Missing candidates have cosine -inf and index 0.
    """
    (h, w, _), k = query.shape, config.top_k
    affinity = query.new_full((h, w, k), -torch.inf)
    sources = torch.zeros(h, w, k, dtype=torch.int64, device=query.device)
    # without a window every query meets every key: whole rows of queries then share one copy of the keys
    tile_h, tile_w, reach = (config.tile, config.tile, config.reach) if windowed else (1, w, max(h, w))
    cells = torch.arange(len(keys) * h * w, device=query.device).view(-1, h, w).transpose(0, 1)  # (h, F, w)
    for left in range(0, w, tile_w):
        columns, near_columns = _span(left, tile_w, reach, w)
        strip = torch.stack([key[:, near_columns] for key in keys], dim=1)  # (h, F, kw, D)
        for top in range(0, h, tile_h):
            rows, near_rows = _span(top, tile_h, reach, h)
            cosines = _cosines(query[rows, columns], strip[near_rows])  # (q, kh, F, kw)
            if windowed:
                cosines += _window(config, rows, columns, near_rows, near_columns, query.device)
            values, index = _largest(cosines.flatten(2), k)
            ids = cells[near_rows, :, near_columns].flatten()[index]
            affinity[rows, columns, : values.shape[1]] = values.view(-1, columns.stop - columns.start, values.shape[1])
            sources[rows, columns, : values.shape[1]] = ids.view(-1, columns.stop - columns.start, values.shape[1])
    return affinity.flatten(0, 1), sources.flatten(0, 1)


def _cosines(queries: Float[Tensor, "qh qw D"], keys: Float[Tensor, "kh F kw D"]) -> Float[Tensor, "q kh F kw"]:
    return torch.mm(queries.flatten(0, 1), keys.flatten(0, 2).T).view(-1, *keys.shape[:3])


def _span(start: int, length: int, reach: int, size: int) -> tuple[slice, slice]:
    """A tile's range along one axis, and the range its windows reach, both cut at the border."""
    stop = min(start + length, size)
    return slice(start, stop), slice(max(start - reach, 0), min(stop + reach, size))


def _window(
    config: PropagationConfig, rows: slice, columns: slice, near_rows: slice, near_columns: slice, device: torch.device
) -> Tensor:
    """0 for the keys of a tile's neighbourhood inside each query's own window, -inf outside: float (q, kh, 1, kw).

    Added, since that is ten times faster on a processor than filling where a mask is true.
    """

    def distances(queries: slice, keys: slice) -> Tensor:
        query, key = (torch.arange(span.start, span.stop, device=device) for span in (queries, keys))
        return (query[:, None] - key).abs()

    dy = distances(rows, near_rows)[:, None, :, None]  # (qh, 1, kh, 1)
    dx = distances(columns, near_columns)[None, :, None, :]  # (1, qw, 1, kw)
    if config.window == "square":
        inside = torch.maximum(dy, dx) <= config.radius
    else:
        inside = dy.square() + dx.square() < config.radius**2
    return inside.float().log().flatten(0, 1).unsqueeze(2)


def _largest(values: Float[Tensor, "q A B"], k: int) -> tuple[Float[Tensor, "q k"], Int64[Tensor, "q k"]]:
    """The k largest values of each row (all, where there are fewer), best first, and their indices in A*B.

    They lie in the k columns with the largest maxima, so only those are searched: a running maximum is many times
    faster than a selection.
    """
    _, a, b = values.shape
    if b <= k:
        return values.flatten(1).topk(min(k, a * b), dim=1)
    best_columns = values.amax(dim=1).topk(k, dim=1).indices  # (q, k)
    candidates = values.gather(2, best_columns[:, None].expand(-1, a, -1))  # (q, A, k)
    largest, order = candidates.flatten(1).topk(k, dim=1)
    return largest, (order // k) * b + best_columns.gather(1, order % k)


def _weights(affinity: Float[Tensor, "N k"], copies: Int64[Tensor, "N k"], config: PropagationConfig) -> Tensor:
    """Softmax weights of candidates sorted best first; one that stands for several copies takes as many of the k
    places, while they last."""
    places_before = copies.cumsum(dim=1) - copies
    places = torch.minimum(copies, (config.top_k - places_before).clamp(min=0))
    exponentials = places * ((affinity - affinity[:, :1]) / config.temperature).exp()
    return exponentials / exponentials.sum(dim=1, keepdim=True)


def _widened(labels: Tensor, num_channels: int) -> Tensor:
    return F.pad(labels, (0, num_channels - labels.shape[-1]))


def _override(predicted: Float[Tensor, "h w C"], given: Float[Tensor, "h w G"], channels: list[int]) -> Tensor:
    others = predicted.clone()
    others[..., channels] = 0
    others[..., 0] += predicted[..., channels].sum(dim=-1)
    told = given[..., channels]
    merged = (1 - told.sum(dim=-1, keepdim=True)).clamp(min=0) * others
    merged[..., channels] = told
    return merged
