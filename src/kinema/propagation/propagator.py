"""Label propagation: every token of a frame takes the mean label of the most similar tokens of earlier frames.

Streaming: frames come one by one, and only the context is kept. Exact: the result is that of the dense procedure (all
tokens against all tokens, then a window mask, then top-k), found tile by tile (`search`). The settings and their
sources are in `config.PropagationConfig`.
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
from kinema.propagation.candidates import Candidates, joined, may_miss_ties, renewed, weights
from kinema.propagation.propagation_config import PropagationConfig
from kinema.propagation.search import most_similar


@dataclass(frozen=True, eq=False)
class _Context:
    """Frames, by number, that vote together, and the label channels that they vote for (None: all)."""

    references: list[int]
    recent: deque[int]
    channels: list[int] | None


class Propagator:
    """Carries soft labels from frame to frame: `start`, then `step` (or `add_reference`) for each further frame.

    Labels are float maps of any number of channels: shares of objects or parts, heat maps, arbitrary values. Channel 0
    is the background. A frame is found later by its `keys`, where they differ from the features that look for earlier
    frames (an attention's keys and queries).
    """

    def __init__(self, config: PropagationConfig, *, device: torch.device | str = "cpu") -> None:
        self.config = config
        self.device = torch.device(device)
        self._contexts: list[_Context] = []
        self._banks: list[FrameBank] = []
        self._grid_and_width: tuple[int, ...] = ()
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
        """Forgets everything and begins with the first frame.

        features: with `similarity="cosine"` of any scale. labels: channel 0 is the background, one channel an object.
        """
        config = self.config
        self._contexts, self._similarity = [], None
        self._grid_and_width, self._num_channels = tuple(features.shape), labels.shape[-1]
        # the frames that a window limits, and where it spares the references, those in a bank of their own
        expected = [1 + config.context] if config.window_covers_first else [config.context, 1]
        dtype = torch.float16 if config.precision == "half" else torch.float32
        coarse = _chooses_in_bf16(config, self.device)
        self._banks = [FrameBank(expected=number, dtype=dtype, coarse=coarse) for number in expected]
        first = labels.to(self.device, torch.float32)
        self._open([0, *_shown(first)] if config.late_objects == "own_context" else None)
        self._hold(self._checked(features if keys is None else keys), first)

    @property
    def last_similarity(self) -> Float[Tensor, "h w"]:
        """How much the latest frame's tokens resemble the tokens whose labels they took: the weighted mean similarity.

        With several contexts, each counts by its share of the token's label. Raises KinemaError before the first step.
        """
        if self._similarity is None:
            raise KinemaError("no frame was compared with earlier ones yet", fix="call step first")
        return self._similarity

    @torch.no_grad()
    def step(
        self, features: Float[Tensor, "h w D"], *, keys: Float[Tensor, "h w D"] | None = None
    ) -> Float[Tensor, "h w C"]:
        """The soft labels of the next frame, which joins the context."""
        query = self._checked(features)
        labels = self._predict(query)
        for context in self._contexts:
            context.recent.append(self._next_number)
        self._hold(query if keys is None else self._checked(keys), labels)
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
        """The soft labels of the next frame, some of which are given; it stays in the context for good.

        A channel beyond those known so far opens a new object; a known one is corrected on this frame.
        channels: the objects that `labels` tells about, by default those it shows; one named here and absent from
        `labels` is said to be absent from the frame. Where given objects leave room, the others keep their predicted
        share, and what a corrected object loses goes to the background.
        """
        given = labels.to(self.device, torch.float32)
        told = _shown(given) if channels is None else list(channels)
        if not all(0 < c < given.shape[-1] for c in told):
            raise KinemaError(f"channels {told} are not objects of {given.shape[-1]} label channels")
        query = self._checked(features)
        predicted = self._predict(query)
        self._num_channels = max(self._num_channels, given.shape[-1])
        merged = _override(_widened(predicted, self._num_channels), given, told)
        self._refer(told, shown=_shown(given))
        self._hold(query if keys is None else self._checked(keys), merged)
        return merged

    def _refer(self, told: list[int], *, shown: list[int]) -> None:
        """Lets the next frame join the contexts of the objects that it tells about, and opens one for those it shows
        first."""
        known = {channel for context in self._contexts for channel in context.channels or told}
        for context in self._contexts:
            joins = context.channels is None or not set(told).isdisjoint(context.channels)
            if joins:
                context.references.append(self._next_number)
            if not joins or self.config.padding != "none":
                context.recent.append(self._next_number)
        new = sorted(set(told) & set(shown) - known)
        if new:
            self._open(new)

    def _open(self, channels: list[int] | None) -> None:
        """Opens a context at the next frame."""
        number, length = self._next_number, self.config.context
        copies = {"none": 0, "counted": 1, "first_frame": length}[self.config.padding]
        self._contexts.append(_Context([number], deque([number] * copies, maxlen=length), channels))

    def _members(self, context: _Context) -> list[Counter[int]]:
        """The frames of a context in each bank, with the number of their copies."""
        if self.config.window_covers_first:
            return [Counter([*context.references, *context.recent])]
        return [Counter(context.recent), Counter(context.references)]

    def _hold(self, keys: Tensor, labels: Tensor) -> None:
        """Stores the next frame where a context has it, in place of frames that none has any more."""
        wanted = [set[int]() for _ in self._banks]
        for context in self._contexts:
            for numbers, members in zip(wanted, self._members(context), strict=True):
                numbers.update(members)
        for bank, numbers in zip(self._banks, wanted, strict=True):
            bank.keep(numbers)
            if self._next_number in numbers:
                bank.put(self._next_number, keys, labels)
        self._next_number += 1

    def _checked(self, features: Tensor) -> Tensor:
        if not self._contexts:
            raise KinemaError("propagation has no first frame", fix="call start before step or add_reference")
        if tuple(features.shape) != self._grid_and_width:
            raise KinemaError(f"features of shape {tuple(features.shape)} after {self._grid_and_width}")
        features = features.to(self.device, torch.float32)
        return F.normalize(features, dim=-1) if self.config.similarity == "cosine" else features

    def _predict(self, query: Tensor) -> Tensor:
        (h, w, _), num_channels = query.shape, self._num_channels
        labels = [_widened(bank.labels.flatten(0, -2), num_channels) for bank in self._banks if bank.slots]
        table = labels[0] if len(labels) == 1 else torch.cat(labels)
        total = query.new_zeros(h * w, num_channels)
        similarities, importance = [], []
        for context, candidates in zip(self._contexts, self._candidates(query), strict=True):
            shares = weights(candidates, self.config)
            voted = F.embedding_bag(candidates.cells, table, per_sample_weights=shares, mode="sum")
            own = range(num_channels) if context.channels is None else context.channels
            total[:, own] += voted[:, own]
            similarities.append((shares * candidates.similarity.nan_to_num(neginf=0)).sum(dim=1))
            importance.append(voted[:, own].abs().sum(dim=1) + 1e-6)
        share = torch.stack(importance)
        self._similarity = ((torch.stack(similarities) * share).sum(dim=0) / share.sum(dim=0)).view(h, w)
        return total.view(h, w, -1)

    def _candidates(self, query: Tensor) -> list[Candidates]:
        """Those of every context: `top_k` of them, or where ties are kept as many as there are ties."""
        config = self.config
        if config.normalization == "softmax":
            return self._found(query, config.top_k)
        keep = config.top_k + 1
        found = self._found(query, keep)
        while (open_ended := may_miss_ties(found, config.top_k)).any():
            keep *= 2
            again = self._found(query, keep, only=open_ended.view(query.shape[:2]))
            found = [renewed(*pair, open_ended) for pair in zip(found, again, strict=True)]
        return found

    def _found(self, query: Tensor, keep: int, only: Tensor | None = None) -> list[Candidates]:
        members = [self._members(context) for context in self._contexts]
        parts: list[list[Candidates]] = [[] for _ in members]
        before = 0
        for which, bank in enumerate(self._banks):
            if not bank.slots:
                continue
            groups = [sorted(bank.slots[number] for number in counts[which]) for counts in members]
            found = most_similar(query, bank, groups, self.config, keep=keep, windowed=which == 0, only=only)
            for part, counts, (similarity, cells) in zip(parts, members, found, strict=True):
                copies = torch.zeros(bank.num_slots, dtype=torch.long)
                for number, count in counts[which].items():
                    copies[bank.slots[number]] = count
                slots = cells // BAND % bank.num_slots
                part.append(Candidates(similarity, cells + before, copies.to(self.device)[slots]))
            before += bank.labels.flatten(0, -2).shape[0]
        return [joined(part, keep) for part in parts]


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


def _chooses_in_bf16(config: PropagationConfig, device: torch.device) -> bool:
    if config.precision == "auto":
        capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # which early versions do not have
        return device.type == "cpu" and bool(capabilities.get("amx_bf16"))
    return config.precision == "bf16"


def _shown(labels: Float[Tensor, "h w C"]) -> list[int]:
    """The objects that labels show."""
    return [c for c in range(1, labels.shape[-1]) if labels[..., c].any()]


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
