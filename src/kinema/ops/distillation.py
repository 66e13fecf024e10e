"""What a student learns from a teacher: targets, centers and cross-entropies over K prototypes (DINO, iBOT, INO).

All of it is fp32, whatever the networks computed in: a temperature of 0.04 makes small errors large.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from kinema.ops.collectives import max_over_ranks, mean_over_ranks

_FEWEST = 1e-6  # keeps a division by no token finite; one token among a million ranks is more


def centers_along(
    center: Float[Tensor, " K"],
    sums: Float[Tensor, "S K"],
    counts: Float[Tensor, " S"],
    *,
    momentum: float,
) -> Float[Tensor, "S1 K"]:
    """The center before each of S updates in turn, and after the last: c <- momentum * c + (1 - momentum) * mean.

    sums: of the teacher's raw outputs, over this rank, for each update; counts: how many. Means are over all ranks. An
    update of nothing leaves the center as it is. DINO (Caron et al. 2021, equation 4).
    """
    joint = mean_over_ranks(torch.cat([sums.float(), counts.float()[:, None]], dim=1))
    means, found = joint[:, :-1] / joint[:, -1:].clamp(min=_FEWEST), joint[:, -1:] > 0
    centers = [center]
    for mean, is_moved in zip(means, found, strict=True):
        centers.append(torch.where(is_moved, momentum * centers[-1] + (1 - momentum) * mean, centers[-1]))
    return torch.stack(centers)


def centered_targets(
    outputs: Float[Tensor, "*B K"], centers: Float[Tensor, "*B K"], *, temperature: float
) -> Float[Tensor, "*B K"]:
    """softmax((outputs - center) / temperature): what the student should say, without a gradient."""
    return ((outputs.detach().float() - centers) / temperature).softmax(dim=-1)


@torch.no_grad()
def sinkhorn_targets(outputs: Float[Tensor, "R K"], *, temperature: float, iterations: int = 3) -> Float[Tensor, "R K"]:
    """Targets that use every prototype equally often over the rows of all ranks (Sinkhorn-Knopp).

    Cuturi 2013, as SwAV (Caron et al. 2020, arXiv:2006.09882) and DINOv2 use it: exp(outputs / temperature) is divided
    by its sums over rows and over prototypes in turn, `iterations` times.
    """
    scaled = outputs.float() / temperature
    highest = scaled.amax() if len(scaled) else scaled.new_full((), -torch.inf)
    plan = (scaled - max_over_ranks(highest)).exp()
    for _ in range(iterations):
        used = mean_over_ranks(plan.sum(dim=0))  # each rank's share: a common factor drops out with the rows
        plan = plan / torch.where(used > 0, used, 1)
        plan = plan / plan.sum(dim=1, keepdim=True)
    return plan


def log_student(outputs: Float[Tensor, "*B K"], *, temperature: float) -> Float[Tensor, "*B K"]:
    """Logarithms of the student's probabilities."""
    return (outputs.float() / temperature).log_softmax(dim=-1)


def pairwise_cross_entropy(
    targets: Float[Tensor, "Q B K"], log_predicted: Float[Tensor, "V B K"]
) -> Float[Tensor, "Q V"]:
    """The cross-entropy of every teacher view with every student view, mean over samples."""
    return -torch.einsum("qbk,vbk->qv", targets, log_predicted) / targets.shape[1]


def cross_entropy(targets: Float[Tensor, "R K"], log_predicted: Float[Tensor, "R K"]) -> Float[Tensor, " R"]:
    """The cross-entropy of each row."""
    return -(targets * log_predicted).sum(dim=-1)


def entropy(targets: Float[Tensor, "*B K"]) -> Float[Tensor, "*B"]:
    """The entropy of each distribution, in nats: 0 where one prototype has it all, ln K where all are equal."""
    return torch.special.entr(targets).sum(dim=-1)


def prototypes_used(targets: Float[Tensor, "R K"]) -> Float[Tensor, ""]:
    """How many prototypes the rows use together: exp of the entropy of their mean; 1 to K, 0 without rows."""
    return entropy(targets.mean(dim=0)).exp() if len(targets) else targets.new_zeros(())


@dataclass(frozen=True, kw_only=True)
class MaskedTokens:
    """Where the masked tokens of some frames are, one after the other; counts may differ by frame."""

    ids: Int64[Tensor, " R"]
    """Places in the tokens of all frames laid end to end."""
    frame: Int64[Tensor, " R"]
    """Number of the frame that each belongs to."""
    counts: Int64[Tensor, " F"]
    """Masked tokens of each frame."""

    @classmethod
    def of(cls, hidden: Tensor) -> "MaskedTokens":
        """From a (F, N) mask, True where a token is masked. How many there are is asked of the device: one wait."""
        ids = hidden.flatten().nonzero().squeeze(1)
        return cls(ids=ids, frame=ids // hidden.shape[1], counts=hidden.sum(dim=1))

    def take(self, tokens: Float[Tensor, "F N D"]) -> Float[Tensor, "R D"]:
        """The masked tokens of all frames."""
        return tokens.flatten(0, 1).index_select(0, self.ids)

    def mean_of_frames(self, values: Float[Tensor, " R"]) -> Float[Tensor, ""]:
        """The mean over each frame's masked tokens, then over all frames; one without a mask counts as 0 (iBOT)."""
        share = 1 / self.counts.clamp(min=1)
        return (values * share[self.frame]).sum() / len(self.counts)


def affinity_cross_entropy(
    student: Float[Tensor, "R K"],
    teacher: Float[Tensor, "R K"],
    counts: list[int],
    *,
    num_frames: int,
    student_temperature: float,
    teacher_temperature: float,
) -> Float[Tensor, ""]:
    """How differently student and teacher match the masked tokens of neighboring frames (INO's affinity consistency).

    Outputs of R masked tokens, frame by frame and clip by clip (`num_frames` frames each); counts: of each frame.
    For neighbors t and t + 1 the cosines of all tokens of t with all of t + 1 become a distribution over the latter;
    the student's is compared with the teacher's: mean over the tokens of t, then over all pairs of neighbors. A pair
    in which a frame has no mask counts as 0.
    """
    students = torch.nn.functional.normalize(student.float(), dim=-1).split(counts)
    teachers = torch.nn.functional.normalize(teacher.detach().float(), dim=-1).split(counts)
    total = student.sum() * 0.0  # keeps the graph whole where no frame has a mask
    for here in range(len(counts)):
        if (here + 1) % num_frames == 0 or counts[here] == 0 or counts[here + 1] == 0:
            continue
        wanted = (teachers[here] @ teachers[here + 1].T / teacher_temperature).softmax(dim=-1)
        found = students[here] @ students[here + 1].T / student_temperature
        total = total + cross_entropy(wanted, found.log_softmax(dim=-1)).mean()
    num_pairs = len(counts) // num_frames * (num_frames - 1)
    return total / num_pairs


def next_frame_cross_entropy(
    targets: Float[Tensor, "R K"], log_predicted: Float[Tensor, "R K"], masked: MaskedTokens, *, num_frames: int
) -> Float[Tensor, ""]:
    """The student's masked tokens against the teacher's of the same place in the next frame.

    All `num_frames` frames of a clip have the same mask. The mean over a frame's tokens, then over all pairs of
    neighbors; a pair without a mask counts as 0.
    """
    has_next = ((masked.frame + 1) % num_frames).nonzero().squeeze(1)
    next_ids = has_next + masked.counts[masked.frame[has_next]]
    by_token = torch.zeros_like(log_predicted[:, 0])
    by_token = by_token.index_add(0, has_next, cross_entropy(targets[next_ids], log_predicted[has_next]))
    return masked.mean_of_frames(by_token) * num_frames / (num_frames - 1)
