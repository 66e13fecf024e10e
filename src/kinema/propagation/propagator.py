"""Label propagation: every token of a frame takes the mean label of the most similar tokens of earlier frames.

Frames are streamed and only the context stays in memory. The result equals that of the dense procedure (all tokens
against all tokens, then a window mask, then top-k) but is found tile by tile (`search`). `PropagationConfig` documents
the settings and where they come from.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from kinema.errors import KinemaError
from kinema.propagation.bank import BAND, FrameBank
from kinema.propagation.candidates import Candidates, compute_weights, may_miss_ties, merge_candidates, replace_rows
from kinema.propagation.propagation_config import PropagationConfig
from kinema.propagation.search import find_most_similar


@dataclass(frozen=True, eq=False)
class _Context:
    """Numbers of the frames that vote together, and the label channels that they vote for (None means all)."""

    references: list[int]
    recent: deque[int]
    channels: list[int] | None


class Propagator:
    """Carries soft labels from frame to frame: call `start`, then `step` or `add_reference` for each further frame.

    Labels are float maps with any number of channels: shares of objects or parts, heat maps, or arbitrary values.
    Channel 0 is the background. If `keys` are given, later frames find a frame by its keys instead of by the features
    that it searches with, as an attention layer does.
    """

    def __init__(self, config: PropagationConfig, *, device: torch.device | str = "cpu") -> None:
        self.config = config
        self.device = torch.device(device)
        self._contexts: list[_Context] = []
        self._banks: list[FrameBank] = []
        self._feature_shape: tuple[int, ...] = ()
        self._num_channels = 0
        self._next_number = 0
        self._similarity: Tensor | None = None

    def start(
        self,
        features: Float[Tensor, "h w D"],
        labels: Float[Tensor, "h w C"],
        *,
        keys: Float[Tensor, "h w D"] | None = None,
    ) -> None:
        """Clears all state and begins with the first frame.

        features: of any scale if `config.similarity` is "cosine". labels: channel 0 is the background, then one channel
        per object.
        """
        config = self.config
        self._contexts, self._similarity = [], None
        self._feature_shape, self._num_channels = tuple(features.shape), labels.shape[-1]
        # The window limits the frames in bank 0. References that it does not limit need a bank of their own, because a
        # search is either windowed or not.
        num_expected = [1 + config.context] if config.window_covers_first else [config.context, 1]
        dtype = torch.float16 if config.precision == "half" else torch.float32
        coarse = _selects_in_bf16(config, self.device)
        self._banks = [FrameBank(expected=count, dtype=dtype, coarse=coarse) for count in num_expected]
        first = labels.to(self.device, torch.float32)
        self._open_context([0, *_list_objects(first)] if config.late_objects == "own_context" else None)
        self._store(self._prepare(features if keys is None else keys), first)

    @property
    def last_similarity(self) -> Float[Tensor, "h w"]:
        """Weighted mean similarity between each token of the latest frame and the tokens that its label came from.

        With several contexts, each counts by its share of the token's label. Raises KinemaError before the first step.
        """
        if self._similarity is None:
            raise KinemaError("no frame was compared with earlier ones yet", fix="call step first")
        return self._similarity

    @torch.no_grad()
    def step(
        self, features: Float[Tensor, "h w D"], *, keys: Float[Tensor, "h w D"] | None = None
    ) -> Float[Tensor, "h w C"]:
        """Returns the soft labels of the next frame and adds the frame to the context."""
        query = self._prepare(features)
        labels = self._predict(query)
        for context in self._contexts:
            context.recent.append(self._next_number)
        self._store(query if keys is None else self._prepare(keys), labels)
        return labels

    @torch.no_grad()
    def add_reference(
        self,
        features: Float[Tensor, "h w D"],
        labels: Float[Tensor, "h w G"],
        *,
        channels: Sequence[int] | None = None,
        keys: Float[Tensor, "h w D"] | None = None,
    ) -> Float[Tensor, "h w C"]:
        """Returns the soft labels of the next frame, some of which are given; the frame stays in the context for good.

        A new channel opens a new object; a known channel is corrected on this frame. channels: the objects that
        `labels` describes, by default those that it shows; an object that is listed here but empty in `labels` is
        absent from the frame. The other objects keep their predicted share as far as the given ones leave room, and the
        background gets what a corrected object loses.
        """
        given = labels.to(self.device, torch.float32)
        described = _list_objects(given) if channels is None else list(channels)
        if not all(0 < c < given.shape[-1] for c in described):
            raise KinemaError(f"channels {described} are not objects of {given.shape[-1]} label channels")
        query = self._prepare(features)
        predicted = self._predict(query)
        self._num_channels = max(self._num_channels, given.shape[-1])
        merged = _merge_labels(_pad_channels(predicted, self._num_channels), given, described)
        self._add_to_contexts(described, shown=_list_objects(given))
        self._store(query if keys is None else self._prepare(keys), merged)
        return merged

    def _add_to_contexts(self, described: list[int], *, shown: list[int]) -> None:
        """Adds the next frame to the contexts of the objects that it describes and opens one for its new objects."""
        known = {channel for context in self._contexts for channel in context.channels or described}
        for context in self._contexts:
            is_reference = context.channels is None or not set(described).isdisjoint(context.channels)
            if is_reference:
                context.references.append(self._next_number)
            # If padding counts the first frame as a recent one, it also counts later references.
            if not is_reference or self.config.padding != "none":
                context.recent.append(self._next_number)
        new = sorted(set(described) & set(shown) - known)
        if new:
            self._open_context(new)

    def _open_context(self, channels: list[int] | None) -> None:
        """Opens a context whose first frame is the next one."""
        number, length = self._next_number, self.config.context
        num_copies = {"none": 0, "counted": 1, "first_frame": length}[self.config.padding]
        self._contexts.append(_Context([number], deque([number] * num_copies, maxlen=length), channels))

    def _count_copies(self, context: _Context) -> list[Counter[int]]:
        """Returns, for each bank, the frames of a context and how many copies of each frame the context has."""
        if self.config.window_covers_first:
            return [Counter([*context.references, *context.recent])]
        return [Counter(context.recent), Counter(context.references)]

    def _store(self, keys: Tensor, labels: Tensor) -> None:
        """Stores the next frame if a context uses it and frees the slots of frames that no context uses any more."""
        used = [set[int]() for _ in self._banks]
        for context in self._contexts:
            for numbers, counts in zip(used, self._count_copies(context), strict=True):
                numbers.update(counts)
        for bank, numbers in zip(self._banks, used, strict=True):
            bank.keep(numbers)
            if self._next_number in numbers:
                bank.put(self._next_number, keys, labels)
        self._next_number += 1

    def _prepare(self, features: Tensor) -> Tensor:
        """Checks the features of a frame and normalizes them if the similarity is the cosine."""
        if not self._contexts:
            raise KinemaError("propagation has no first frame", fix="call start before step or add_reference")
        if tuple(features.shape) != self._feature_shape:
            raise KinemaError(f"features of shape {tuple(features.shape)} after {self._feature_shape}")
        features = features.to(self.device, torch.float32)
        return F.normalize(features, dim=-1) if self.config.similarity == "cosine" else features

    def _predict(self, query: Tensor) -> Tensor:
        """Sums the votes of all contexts, each for its own channels, and sets the mean similarity."""
        (h, w, _), num_channels = query.shape, self._num_channels
        labels = [_pad_channels(bank.labels.flatten(0, -2), num_channels) for bank in self._banks if bank.slots]
        table = labels[0] if len(labels) == 1 else torch.cat(labels)
        total = query.new_zeros(h * w, num_channels)
        similarities, importance = [], []
        for context, candidates in zip(self._contexts, self._find_candidates(query), strict=True):
            weights = compute_weights(candidates, self.config)
            # embedding_bag sums weighted rows without materializing an (N, k, C) gather
            votes = F.embedding_bag(candidates.cells, table, per_sample_weights=weights, mode="sum")
            own = range(num_channels) if context.channels is None else context.channels
            total[:, own] += votes[:, own]
            similarities.append((weights * candidates.similarity.nan_to_num(neginf=0)).sum(dim=1))
            # The small term keeps the mean defined for tokens that no context gives any label.
            importance.append(votes[:, own].abs().sum(dim=1) + 1e-6)
        share = torch.stack(importance)
        self._similarity = ((torch.stack(similarities) * share).sum(dim=0) / share.sum(dim=0)).view(h, w)
        return total.view(h, w, -1)

    def _find_candidates(self, query: Tensor) -> list[Candidates]:
        """Finds the candidates of every context: `top_k` of them, or more if ties with the k-th are kept."""
        config = self.config
        if config.normalization == "softmax":
            return self._search_banks(query, config.top_k)
        # One candidate more than k shows whether the k-th is tied. As long as the last candidate found still equals
        # the k-th, there may be further ties behind it; only those tokens are searched again, with twice as many.
        keep = config.top_k + 1
        found = self._search_banks(query, keep)
        while (open_ended := may_miss_ties(found, config.top_k)).any():
            keep *= 2
            more = self._search_banks(query, keep, only=open_ended.view(query.shape[:2]))
            found = [replace_rows(*pair, open_ended) for pair in zip(found, more, strict=True)]
        return found

    def _search_banks(self, query: Tensor, keep: int, only: Tensor | None = None) -> list[Candidates]:
        """Returns the best `keep` candidates of every context over all banks, for the tokens of `only` if given."""
        counts_by_context = [self._count_copies(context) for context in self._contexts]
        parts: list[list[Candidates]] = [[] for _ in counts_by_context]
        first_cell = 0  # where this bank begins in the table of all banks' labels
        for bank_id, bank in enumerate(self._banks):
            if not bank.slots:
                continue
            counts_here = [counts[bank_id] for counts in counts_by_context]
            groups = [sorted(bank.slots[number] for number in counts) for counts in counts_here]
            found = find_most_similar(query, bank, groups, self.config, keep=keep, windowed=bank_id == 0, only=only)
            for part, counts, (similarity, cells) in zip(parts, counts_here, found, strict=True):
                copies = torch.zeros(bank.num_slots, dtype=torch.long)
                for number, count in counts.items():
                    copies[bank.slots[number]] = count
                slots = cells // BAND % bank.num_slots
                part.append(Candidates(similarity, cells + first_cell, copies.to(self.device)[slots]))
            first_cell += bank.labels.flatten(0, -2).shape[0]
        return [merge_candidates(part, keep) for part in parts]


@torch.no_grad()
def propagate(
    features: Iterable[Float[Tensor, "h w D"]],
    first_labels: Float[Tensor, "h w C"],
    config: PropagationConfig,
    *,
    device: torch.device | str = "cpu",
) -> Iterator[Float[Tensor, "h w C"]]:
    """Yields the soft labels of every frame as its features arrive, beginning with the given labels of the first."""
    propagator = Propagator(config, device=device)
    for index, frame in enumerate(features):
        if index == 0:
            propagator.start(frame, first_labels)
            yield first_labels.to(propagator.device, torch.float32)
        else:
            yield propagator.step(frame)


def _selects_in_bf16(config: PropagationConfig, device: torch.device) -> bool:
    if config.precision == "auto":
        get_capabilities = getattr(torch.cpu, "get_capabilities", dict)  # missing in early supported versions
        return device.type == "cpu" and bool(get_capabilities().get("amx_bf16"))
    return config.precision == "bf16"


def _list_objects(labels: Float[Tensor, "h w C"]) -> list[int]:
    """Returns the object channels that are not empty."""
    return [c for c in range(1, labels.shape[-1]) if labels[..., c].any()]


def _pad_channels(labels: Tensor, num_channels: int) -> Tensor:
    return F.pad(labels, (0, num_channels - labels.shape[-1]))


def _merge_labels(predicted: Float[Tensor, "h w C"], given: Float[Tensor, "h w G"], channels: list[int]) -> Tensor:
    """Replaces the listed channels by the given ones and scales the others to the room that these leave."""
    others = predicted.clone()
    others[..., channels] = 0
    others[..., 0] += predicted[..., channels].sum(dim=-1)
    merged = (1 - given[..., channels].sum(dim=-1, keepdim=True)).clamp(min=0) * others
    merged[..., channels] = given[..., channels]
    return merged
