"""Recipes for fine-tuning, as released by VideoMAE and MAE.

If a released setting draws several clips from a video (`num_sample`), its batch size, learning rate and epochs count
videos; here they count clips. Learning rates end at 1e-6 for 256 videos unless stated otherwise. Costs are computed
from the architecture as three times the operations of the forward pass of a whole clip. GPU counts are the authors'.
"""

from dataclasses import replace

from kinema.datasets.data_config import DataConfig
from kinema.recipes.recipe import FineTuneRecipe, Views
from kinema.train.train_config import TrainConfig
from kinema.transfer.finetune_config import FineTuneConfig, MixConfig
from kinema.video.rand_augment import RandAugment
from kinema.video.sampling import Clips, Segments
from kinema.video.transforms import ClipTransform

_NO_MIX = MixConfig(mixup=0.0, cutmix=0.0)
_AUGMENTED = ClipTransform(scale=(0.08, 1.0), flip=0.5, rand_augment=RandAugment(num_ops=4), erasing=0.25)
"""Crops of at least 8 % of the frame, rand-m7-n4-mstd0.5-inc1, and an erased box in a quarter of the clips."""


def finetune_k400_vits16() -> FineTuneRecipe:
    """VideoMAE ViT-S on Kinetics-400: 150 epochs of 2 clips per video, 384 videos per step.

    Command: torchrun --nproc-per-node 8 -m kinema finetune finetune_k400_vits16 --dataset kinetics --test val
    --root $DATA/kinetics400 --weights runs/videomae_vits16 --out runs/ft
    Cost: 342 GFLOP per clip and step; the authors used 32 GPUs.
    Published result: 79.0 top-1, 93.8 top-5 with 5x3 views.
    """
    return FineTuneRecipe(
        method=FineTuneConfig(size="small", image_size=224),
        data=DataConfig(sampling=Clips(num_frames=16, stride=4), transform=_AUGMENTED, repeats=2),
        train=_build_schedule(videos=384, lr=5e-4, epochs=150),
    )


def finetune_k400_vitb16() -> FineTuneRecipe:
    """VideoMAE ViT-B on Kinetics-400: 75 epochs of 2 clips per video, 384 videos per step.

    The weights are those of 1600 epochs.

    Command: torchrun --nproc-per-node 8 -m kinema finetune finetune_k400_vitb16 --dataset kinetics --test val
    --root $DATA/kinetics400 --weights runs/videomae_vitb16 --out runs/ft
    Cost: 1.08 TFLOP per clip and step; the authors used 64 GPUs.
    Published result: 81.5 top-1, 95.1 top-5 with 5x3 views.
    """
    recipe = finetune_k400_vits16()
    return replace(
        recipe, method=replace(recipe.method, size="base"), train=_build_schedule(videos=384, lr=5e-4, epochs=75)
    )


def finetune_k400_vitl16() -> FineTuneRecipe:
    """VideoMAE ViT-L on Kinetics-400: 35 epochs of 2 clips per video, 128 videos per step.

    Command: torchrun --nproc-per-node 8 -m kinema finetune finetune_k400_vitl16 --dataset kinetics --test val
    --root $DATA/kinetics400 --weights runs/videomae_vitl16 --out runs/ft
    Cost: 3.6 TFLOP per clip and step; the authors used 64 GPUs.
    Published result: 85.2 top-1, 96.8 top-5 with 5x3 views.
    """
    recipe = finetune_k400_vits16()
    return replace(
        recipe, method=replace(recipe.method, size="large"), train=_build_schedule(videos=128, lr=2e-3, epochs=35)
    )


def finetune_k400_vith16() -> FineTuneRecipe:
    """VideoMAE ViT-H on Kinetics-400: 50 epochs of 2 clips per video, 512 videos per step, stronger drop path.

    Command: torchrun --nproc-per-node 8 -m kinema finetune finetune_k400_vith16 --dataset kinetics --test val
    --root $DATA/kinetics400 --weights runs/videomae_vith16 --out runs/ft
    Cost: 7.2 TFLOP per clip and step, plus a third for recomputing activations; the authors used 64 GPUs.
    Published result: 86.6 top-1, 97.1 top-5 with 5x3 views.
    """
    recipe = finetune_k400_vits16()
    return replace(
        recipe,
        method=replace(recipe.method, size="huge", drop_path=0.2, head_dropout=0.5),
        train=replace(_build_schedule(videos=512, lr=1e-3, epochs=50, min_lr=1e-5), activation_checkpointing=True),
    )


def k400_vith16_320px_32f() -> FineTuneRecipe:
    """VideoMAE's best result on Kinetics-400: ViT-H, 32 frames of 320 pixels.

    No script is public; everything else is as at 224 pixels. The weights are those of 16 frames of 224 pixels, with
    resampled positions, which the paper does not mention.
    Command: torchrun --nproc-per-node 8 -m kinema finetune k400_vith16_320px_32f --dataset kinetics --test val
    --root $DATA/kinetics400 --weights runs/videomae_vith16 --out runs/ft
    Cost: 6400 tokens per clip, four times those at 224, and sixteen times the products in attention.
    Published result: 87.4 top-1, 97.6 top-5 with 4x3 views.
    """
    recipe = finetune_k400_vith16()
    return replace(
        recipe,
        method=replace(recipe.method, image_size=320),
        data=replace(recipe.data, sampling=Clips(num_frames=32, stride=4)),
        views=Views(clips=4, crops=3),
    )


def finetune_ssv2_vits16() -> FineTuneRecipe:
    """VideoMAE ViT-S on Something-Something V2: 40 epochs of 2 clips per video, a frame from each of 16 parts, no flip.

    Command: torchrun --nproc-per-node 8 -m kinema finetune finetune_ssv2_vits16 --dataset ssv2 --test val
    --root $DATA/ssv2 --weights runs/videomae_vits16_ssv2 --out runs/ft
    Cost: 342 GFLOP per clip and step; the authors used 32 GPUs.
    Published result: 66.8 top-1, 90.3 top-5 with 2x3 views.
    """
    recipe = _on_ssv2(finetune_k400_vits16())
    return replace(
        recipe, method=replace(recipe.method, layer_decay=0.7), train=_build_schedule(videos=384, lr=1e-3, epochs=40)
    )


def finetune_ssv2_vitb16() -> FineTuneRecipe:
    """VideoMAE ViT-B on Something-Something V2: 30 epochs of 2 clips per video, a frame from each of 16 parts, no flip.

    Command: torchrun --nproc-per-node 8 -m kinema finetune finetune_ssv2_vitb16 --dataset ssv2 --test val
    --root $DATA/ssv2 --weights runs/videomae_vitb16_ssv2 --out runs/ft
    Cost: 1.08 TFLOP per clip and step; the authors used 64 GPUs.
    Published result: 70.8 top-1, 92.4 top-5 with 2x3 views; 68.5 top-1 from weights of Kinetics-400.
    """
    return replace(_on_ssv2(finetune_k400_vitb16()), train=_build_schedule(videos=384, lr=5e-4, epochs=30))


def finetune_ssv2_vitl16() -> FineTuneRecipe:
    """VideoMAE ViT-L on Something-Something V2. No script is public; the schedule is ViT-B's.

    Command: torchrun --nproc-per-node 8 -m kinema finetune finetune_ssv2_vitl16 --dataset ssv2 --test val
    --root $DATA/ssv2 --weights runs/videomae_vitl16_ssv2 --out runs/ft
    Cost: 3.6 TFLOP per clip and step.
    Published result: 74.3 top-1, 94.6 top-5 with 2x3 views.
    """
    recipe = finetune_ssv2_vitb16()
    return replace(recipe, method=replace(recipe.method, size="large"))


def ssv2_vitl16_32f() -> FineTuneRecipe:
    """VideoMAE's best result on Something-Something V2: ViT-L, 32 frames.

    No script is public; everything else is as with 16 frames. The weights are those of 16 frames, with resampled
    positions, which the paper does not mention.
    Command: torchrun --nproc-per-node 8 -m kinema finetune ssv2_vitl16_32f --dataset ssv2 --test val
    --root $DATA/ssv2 --weights runs/videomae_vitl16_ssv2 --out runs/ft
    Cost: twice the tokens of `finetune_ssv2_vitl16`.
    Published result: 75.4 top-1, 95.2 top-5 with 1x3 views.
    """
    recipe = finetune_ssv2_vitl16()
    return replace(recipe, data=replace(recipe.data, sampling=Segments(num_frames=32)), views=Views(clips=1, crops=3))


def finetune_ucf101_vitb16() -> FineTuneRecipe:
    """VideoMAE ViT-B on UCF101: 100 epochs of 2 clips per video, 128 videos per step, dropout of 0.5 before the head.

    Command: torchrun --nproc-per-node 8 -m kinema finetune finetune_ucf101_vitb16 --dataset ucf101
    --root $DATA/ucf101 --weights runs/videomae_vitb16_ucf101 --out runs/ft
    Cost: 1.08 TFLOP per clip and step, plus a third for recomputing activations; the authors used 8 GPUs.
    Published result: 91.3 top-1, 98.5 top-5 with 5x3 views; 96.1 from weights of Kinetics-400. The split is not stated.
    """
    recipe = finetune_k400_vitb16()
    return replace(
        recipe,
        method=replace(recipe.method, layer_decay=0.7, drop_path=0.2, head_dropout=0.5),
        train=replace(_build_schedule(videos=128, lr=5e-4, epochs=100, min_lr=1e-5), activation_checkpointing=True),
    )


def finetune_hmdb51_vitb16() -> FineTuneRecipe:
    """VideoMAE ViT-B on HMDB51. No script is public; everything is as on UCF101, but with stride 2.

    Command: torchrun --nproc-per-node 8 -m kinema finetune finetune_hmdb51_vitb16 --dataset hmdb51
    --root $DATA/hmdb51 --weights runs/videomae_vitb16_hmdb51 --out runs/ft
    Cost: a third of the clips of `finetune_ucf101_vitb16`.
    Published result: 62.6 top-1; 73.3 from weights of Kinetics-400. The split is not stated.
    """
    recipe = finetune_ucf101_vitb16()
    return replace(recipe, data=replace(recipe.data, sampling=Clips(num_frames=16, stride=2)))


def finetune_imagenet_vitb16() -> FineTuneRecipe:
    """MAE ViT-B on ImageNet-1k: 100 epochs of batch 1024 (He et al. 2022, arXiv:2111.06377, Table 9).

    Command: torchrun --nproc-per-node 8 -m kinema finetune finetune_imagenet_vitb16 --dataset folders --test val
    --root $DATA/imagenet --weights runs/mae_vitb16 --out runs/ft
    Cost: 53 GFLOP per image and step.
    Published result: 83.6 top-1 on one center crop, cut from 256 pixels; here it spans the shorter side.
    """
    augmented = replace(_AUGMENTED, rand_augment=RandAugment(num_ops=2, magnitude=9.0))
    return FineTuneRecipe(
        method=FineTuneConfig(size="base", image_size=224, layer_decay=0.65),
        data=DataConfig(sampling=Clips(num_frames=1, stride=1), transform=augmented, repeats=1),
        train=replace(_build_schedule(videos=1024, lr=5e-4, epochs=100, samples=1), min_lr=1e-6),
        views=Views(clips=1, crops=1),
    )


def finetune_imagenet_vitl16() -> FineTuneRecipe:
    """MAE ViT-L on ImageNet-1k: 50 epochs of batch 1024 (He et al. 2022, arXiv:2111.06377, Table 9).

    Command: torchrun --nproc-per-node 8 -m kinema finetune finetune_imagenet_vitl16 --dataset folders --test val
    --root $DATA/imagenet --weights runs/mae_vitl16 --out runs/ft
    Cost: 185 GFLOP per image and step.
    Published result: 85.9 top-1 with MAE's weights; 86.0 with ViC-MAE's of Kinetics-400 and ImageNet, whose code trains
    ViT-L as ViT-B (100 epochs, 5e-4, decay 0.65, drop path 0.1) and reads the class token instead of the mean.
    """
    recipe = finetune_imagenet_vitb16()
    return replace(
        recipe,
        method=replace(recipe.method, size="large", layer_decay=0.75, drop_path=0.2),
        train=replace(_build_schedule(videos=1024, lr=1e-3, epochs=50, samples=1), min_lr=1e-6),
    )


def finetune_k400_vicmae_vitb16() -> FineTuneRecipe:
    """ViC-MAE ViT-B on Kinetics-400: its encoder of frames is inflated to tubelets of 2, clips of 16 x 4.

    The authors never released their video recipe; this is VideoMAE's recipe with ViC-MAE's clips and views.
    Command: torchrun --nproc-per-node 8 -m kinema finetune finetune_k400_vicmae_vitb16 --dataset kinetics --test val
    --root $DATA/kinetics400 --weights runs/vicmae --out runs/ft
    Cost: 1.08 TFLOP per clip and step. Published result: 80.8 top-1 with 7x3 views, 77.3 with 5x1.
    """
    recipe = finetune_k400_vitb16()
    method = replace(recipe.method, tubelet_size=2, layer_decay=0.65)
    return replace(recipe, method=method, views=Views(clips=7, crops=3))


def finetune_cpu() -> FineTuneRecipe:
    """Fine-tuning of a small network on a few dozen clips, in minutes on a CPU; frames have the size of pre-training.

    Command: kinema finetune finetune_cpu --dataset folders --root clips/ --weights runs/cpu --out runs/ft
    Cost: 44 CPU seconds for 40 steps of ViT-Ti on 8 frames of 112 pixels.
    Result: docs/results.md; with 36 clips it is no better than the untrained network.
    """
    return FineTuneRecipe(
        method=FineTuneConfig(layer_decay=0.75, mix=_NO_MIX, label_smoothing=0.1),
        data=DataConfig(
            sampling=Clips(num_frames=16, stride=4), transform=ClipTransform(scale=(0.3, 1.0), flip=0.5), repeats=2
        ),
        train=TrainConfig(
            steps=200,
            warmup_steps=20,
            batch_size=16,
            base_lr=8e-3,
            weight_decay=0.05,
            betas=(0.9, 0.999),
            clip_grad_norm=1.0,
            checkpoint_every_steps=50,
        ),
        views=Views(clips=2, crops=1),
    )


def _build_schedule(*, videos: int, lr: float, epochs: int, min_lr: float = 1e-6, samples: int = 2) -> TrainConfig:
    """Builds the released schedule, whose numbers count videos of `samples` clips."""
    return TrainConfig(
        epochs=float(epochs * samples),
        warmup_epochs=5.0 * samples,
        batch_size=videos * samples,
        base_lr=lr / samples,
        min_lr=min_lr * videos / 256,
        weight_decay=0.05,
        betas=(0.9, 0.999),
    )


def _on_ssv2(recipe: FineTuneRecipe) -> FineTuneRecipe:
    transform = replace(_AUGMENTED, flip=0.0)
    data = replace(recipe.data, sampling=Segments(num_frames=16), transform=transform)
    return replace(recipe, data=data, views=Views(clips=2, crops=3))
