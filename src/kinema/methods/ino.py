"""INO: in-and-out generative learning from video (Pan et al. 2022, arXiv:2203.15312); DINO and iBOT by its settings.

Paper -> here: L_out_g2g, L_out_l2g -> `out_generative`, on class tokens across frames; L_in_mim -> `masked_tokens` and
L_in_aff -> `consistency`, on patch tokens. The student sees masked global and whole local views, the teacher, its
moving average, whole global views. Method and numbers are those of the public code: the paper's body was not at hand.
"""

import math
from dataclasses import asdict, dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from kinema.errors import ConfigError
from kinema.methods.ino_config import INOConfig, Temperature
from kinema.methods.method import EncoderExport, Method, MethodOutput, ParameterGroup
from kinema.models.heads import HeadedViT, TeacherTargets
from kinema.ops.distillation import (
    MaskedTokens,
    affinity_cross_entropy,
    cross_entropy,
    entropy,
    log_student,
    next_frame_cross_entropy,
    pairwise_cross_entropy,
    prototypes_used,
)
from kinema.ops.masking import dense_mask
from kinema.ops.schedules import cosine, linear
from kinema.types import ClipBatch, ClipSpec

_AT_LN_K = 0.002  # of ln K: as near as that, a loss or an entropy says that one of the two answers evenly
Terms = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What a network says of a batch, over K prototypes."""

    classes: Float[Tensor, "V T B K"] | None
    """Of the class tokens of every view, the global one first; None where no loss asks for them."""
    patches: Float[Tensor, "R K"] | None
    """Of the masked tokens, clip by clip and frame by frame; likewise."""
    tokens: Float[Tensor, "F N1 D"]
    """The global views' tokens that they were made from."""


class INO(Method):
    """A student that learns what its own moving average, the teacher, says of other and fuller views of a video."""

    def __init__(self, config: INOConfig) -> None:
        super().__init__()
        self.config = config
        self.clip = ClipSpec(num_frames=config.num_frames, height=config.crop_size, width=config.crop_size)
        self.student = HeadedViT(config.encoder, config.head, masks=config.masks, drop_path=config.drop_path)
        self.teacher = HeadedViT(config.encoder, config.head, masks=False, drop_path=0.0).requires_grad_(False)
        targets = partial(TeacherTargets, config.targets, config.head.prototypes, momentum=config.center_momentum)
        self.class_targets, self.patch_targets = targets(), targets()

    @torch.no_grad()
    def init_weights(self) -> None:
        self.student.init_weights()
        self.teacher.load_state_dict(self._teachable())
        self.class_targets.init_weights()
        self.patch_targets.init_weights()

    def forward(self, batch: ClipBatch, progress: float) -> MethodOutput:
        hidden = self.hidden(batch.seeds).flatten(0, 1)  # (B * T, N)
        masked = MaskedTokens.of(hidden)
        with torch.no_grad():
            taught = self.outputs(self.teacher, batch, masked)
        learned = self.outputs(self.student, batch, masked, hidden)
        loss, terms = torch.zeros((), device=hidden.device), {}
        for part in (self.out_generative, self.in_generative):
            value, more = part(learned, taught, masked, progress)
            loss, terms = loss + value, terms | more
        return MethodOutput(loss=loss, terms=terms)

    def hidden(self, seeds: Int64[Tensor, " B"]) -> Bool[Tensor, "B T N"]:
        """What the student's global views hide: one draw a clip, or one a frame."""
        config = self.config
        draw = partial(
            dense_mask,
            seeds,
            config.crop_grid,
            kind=config.mask,
            probability=config.mask_probability,
            ratio=config.mask_ratio,
        )
        frames = range(config.num_frames)
        if config.mask_of == "clip":
            return torch.stack([draw()] * len(frames), dim=1)
        return torch.stack([draw(purpose=frame) for frame in frames], dim=1)

    def hidden_pixels(self, batch: ClipBatch) -> Bool[Tensor, "B T H W"] | None:
        """What the student's global views hide; the teacher sees them whole."""
        if not self.config.masks:
            return None
        hidden, side = self.hidden(batch.seeds).unflatten(2, self.config.crop_grid), self.config.encoder.patch_size
        return hidden.repeat_interleave(side, dim=2).repeat_interleave(side, dim=3)

    def outputs(
        self, network: HeadedViT, batch: ClipBatch, masked: MaskedTokens, hidden: Bool[Tensor, "F N"] | None = None
    ) -> Outputs:
        """The network's outputs of all views; the student's (given what is hidden from it) of local ones as well."""
        tokens = network(batch.frames.flatten(0, 1), hidden)  # (B * T, 1 + N, D)
        classes = patches = None
        if self.config.global_to_global or self.config.local_to_global:
            views = tokens[:, :1].unflatten(0, (len(batch), -1))  # (B, T, 1, D)
            if hidden is not None and self.config.local_to_global:
                views = torch.cat([views, self._local_class_tokens(network, batch)], dim=2)  # (B, T, 1 + L, D)
            classes = network.head(views).permute(2, 1, 0, 3)  # (1 + L, T, B, K)
        if self.config.masked_tokens or self.config.consistency:
            patches = network.head(masked.take(tokens[:, 1:]))
        return Outputs(classes=classes, patches=patches, tokens=tokens)

    def _local_class_tokens(self, network: HeadedViT, batch: ClipBatch) -> Float[Tensor, "B T L D"]:
        if batch.local_crops is None:
            fix = "give --data.local-crops.count, or set --method.local-to-global 0"
            raise ConfigError("the local-to-global loss has no local crops", where="--data.local-crops.count", fix=fix)
        crops, chunk = batch.local_crops.flatten(0, 2), self.config.local_chunk
        if chunk is None or not torch.is_grad_enabled():
            return network(crops)[:, 0].unflatten(0, batch.local_crops.shape[:3])
        parts = [
            checkpoint(lambda views: network(views)[:, 0], part, use_reentrant=False) for part in crops.split(chunk)
        ]
        return torch.cat(parts).unflatten(0, batch.local_crops.shape[:3])

    def out_generative(
        self, learned: Outputs, taught: Outputs, masked: MaskedTokens, progress: float
    ) -> tuple[Tensor, Terms]:
        """L_out_g2g and L_out_l2g: class tokens of frame t and t + T / 2, each student view against both teachers.

        A weighted sum over all pairs of views, divided by how many there are: global to global across frames only,
        local to global as `pairing` says; then the mean over the pairs of frames. DINO's loss where T is 2.
        """
        if learned.classes is None or taught.classes is None:
            return learned.tokens.new_zeros(()), {}
        config = self.config
        targets = self._class_targets(taught.classes[0], at(config.teacher_temperature, progress))  # (T, B, K)
        predicted = log_student(learned.classes, temperature=config.student_temperature)  # (1 + L, T, B, K)
        own = torch.eye(2, device=targets.device)
        wanted = {"both": torch.ones_like(own), "cross_frame": 1 - own, "same_frame": own}[config.pairing]
        global_sums, local_sums = [], []
        for first in range(config.num_frames // 2):
            pair = [first, first + config.num_frames // 2]
            views = predicted[:, pair].flatten(0, 1)  # (2 * (1 + L), B, K)
            by_view = pairwise_cross_entropy(targets[pair], views).unflatten(1, (-1, 2))  # (teacher, 1 + L, frame)
            global_sums.append((by_view[:, 0] * (1 - own)).sum())
            local_sums.append((by_view[:, 1:] * wanted[:, None]).sum())
        global_sum, local_sum = torch.stack(global_sums).mean(), torch.stack(local_sums).mean()
        num_global, num_local = 2, int(wanted.sum()) * (len(predicted) - 1)
        num_asked = num_global * bool(config.global_to_global) + num_local
        loss = (config.global_to_global * global_sum + config.local_to_global * local_sum) / num_asked
        terms = {"global_to_global": global_sum / num_global}
        if num_local:
            terms["local_to_global"] = local_sum / num_local
        plain = (global_sum * bool(config.global_to_global) + local_sum) / num_asked
        return loss, terms | _watched("class", targets.flatten(0, 1), plain, self.class_targets.center)

    def in_generative(
        self, learned: Outputs, taught: Outputs, masked: MaskedTokens, progress: float
    ) -> tuple[Tensor, Terms]:
        """L_in_mim: each masked token against the teacher's, which sees the whole view; and the consistency loss."""
        if learned.patches is None or taught.patches is None:
            return learned.tokens.new_zeros(()), {}
        config = self.config
        loss, terms = torch.zeros((), device=learned.patches.device), {}
        predicted = log_student(learned.patches, temperature=config.student_temperature)  # (R, K)
        targets = self._patch_targets(taught, masked, at(config.patch_teacher_temperature, progress))
        by_token = cross_entropy(targets, predicted)
        if config.masked_tokens:
            terms["masked_tokens"] = masked.mean_of_frames(by_token)
            loss = loss + config.masked_tokens * terms["masked_tokens"]
            terms |= _watched("patch", targets, by_token.sum() / max(len(by_token), 1), self.patch_targets.center)
        if config.consistency:
            terms["consistency"] = (
                self._affinity_consistency(learned.patches, taught.patches, masked, progress)
                if config.consistency_of == "affinity"
                else next_frame_cross_entropy(targets, predicted, masked, num_frames=config.num_frames)
            )
            loss = loss + config.consistency * terms["consistency"]
        return loss, terms

    def _affinity_consistency(
        self, student: Float[Tensor, "R K"], teacher: Float[Tensor, "R K"], masked: MaskedTokens, progress: float
    ) -> Float[Tensor, ""]:
        """L_in_aff: how the masked tokens of a frame match those of the next, by the student and by the teacher."""
        return affinity_cross_entropy(
            student,
            teacher,
            masked.counts.tolist(),
            num_frames=self.config.num_frames,
            student_temperature=self.config.affinity_student_temperature,
            teacher_temperature=at(self.config.affinity_teacher_temperature, progress),
        )

    def _class_targets(self, outputs: Float[Tensor, "T B K"], temperature: float) -> Float[Tensor, "T B K"]:
        """What the teacher's class tokens teach. The pairs move the center one after the other, or all together."""
        stages = self.config.num_frames // 2 if self.config.center_updates == "frames" else 1
        stage = torch.arange(len(outputs), device=outputs.device) % stages  # frames t and t + T / 2 share one
        stage = stage.repeat_interleave(outputs.shape[1])
        targets = self.class_targets(outputs.flatten(0, 1), stage, stages=stages, temperature=temperature)
        return targets.view_as(outputs)

    def _patch_targets(self, taught: Outputs, masked: MaskedTokens, temperature: float) -> Float[Tensor, "R K"]:
        """What the teacher's masked tokens teach. The frames move the center one after the other, or all together."""
        assert taught.patches is not None
        stages = self.config.num_frames if self.config.center_updates == "frames" else 1
        moved_by = self._sums_of_all_tokens(taught.tokens[:, 1:], stages) if self.config.patch_center == "all" else None
        return self.patch_targets(
            taught.patches, masked.frame % stages, stages=stages, temperature=temperature, moved_by=moved_by
        )

    def _sums_of_all_tokens(self, tokens: Float[Tensor, "F N D"], stages: int) -> tuple[Tensor, Tensor]:
        """Sums of the teacher's outputs and how many there are, by stage. The prototypes are linear: the sum is taken
        before them, where it is K / E times smaller."""
        head = self.teacher.head
        units = head.bottleneck(tokens).unflatten(0, (-1, stages))  # (F / stages, stages, N, E)
        counts = units.new_full((stages,), units[..., 0].numel() / stages)
        return head.last_layer(units.sum(dim=(0, 2))), counts

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """teacher <- m * teacher + (1 - m) * student, with m of this step."""
        share = 1 - cosine(*self.config.momentum, progress)
        student = dict(self.student.named_parameters())
        for name, parameter in self.teacher.named_parameters():
            parameter.lerp_(student[name], share)

    def parameter_groups(self, progress: float) -> list[ParameterGroup]:
        """The usual two, and the prototypes, which rest at first."""
        prototypes = list(self.student.head.last_layer.parameters())
        own = {id(parameter) for parameter in prototypes}
        groups = super().parameter_groups(progress)
        for group in groups:
            group.parameters = [parameter for parameter in group.parameters if id(parameter) not in own]
        scale = 0.0 if progress < self.config.frozen_prototypes else 1.0
        trained = [parameter for parameter in prototypes if parameter.requires_grad]
        return [*groups, ParameterGroup(name="prototypes", parameters=trained, lr_scale=scale)]

    def alarms(self, measured: dict[str, float]) -> list[str]:
        highest, found = math.log(self.config.head.prototypes), []
        for kind in ("class", "patch"):
            if f"terms/{kind}_entropy" not in measured:
                continue
            spread, distance = measured[f"terms/{kind}_entropy"], measured[f"terms/{kind}_kl"]
            near = _AT_LN_K * highest
            if abs(spread + distance - highest) < near or spread > highest - near:
                found.append(
                    f"the {kind} loss sits at ln K = {highest:.3f}: student or teacher gives every {kind} token the "
                    "same even answer, and nothing is learned. Lower the teacher's temperature, raise the learning "
                    "rate, lower the momentum (0.99 for short runs), or use fewer prototypes"
                )
            if 0 < measured[f"terms/{kind}_prototypes"] < 1.5:
                found.append(
                    f"all {kind} tokens get the same prototype: the network has collapsed. Raise the teacher's "
                    "temperature, or lower --method.center-momentum"
                )
        return found

    def shard_units(self) -> list[nn.Module]:
        return [*self.student.encoder.blocks, *self.teacher.encoder.blocks]

    def load_encoder(self, tensors: dict[str, Tensor]) -> None:
        self.student.encoder.load_state_dict(tensors)
        self.teacher.encoder.load_state_dict(tensors)

    def encoder_export(self) -> EncoderExport:
        """The teacher's encoder, or the student's; the other under its name."""
        networks = {name: getattr(self, name).encoder.state_dict() for name in ("teacher", "student")}
        chosen = networks.pop(self.config.export)
        return EncoderExport(tensors=chosen, config={"encoder": asdict(self.config.encoder)}, others=networks)

    def _teachable(self) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in self.student.state_dict().items() if name != "mask_token"}


def at(temperature: Temperature, progress: float) -> float:
    """A temperature at a share of the training."""
    return linear(temperature.start, temperature.end, progress, until=temperature.warmup)


def _watched(kind: str, targets: Float[Tensor, "R K"], loss: Tensor, center: Float[Tensor, " K"]) -> Terms:
    """What tells collapse early: the loss as the teacher's entropy plus the distance to it, prototypes in use (1 to
    K), and the length of the center."""
    spread = entropy(targets).sum() / max(len(targets), 1)
    return {
        f"{kind}_entropy": spread,
        f"{kind}_kl": loss.detach() - spread,
        f"{kind}_prototypes": prototypes_used(targets),
        f"{kind}_center_norm": center.norm(),
    }
