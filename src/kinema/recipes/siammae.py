"""Recipes for SiamMAE. Costs without a source were measured by us on two CPU cores with AMX."""

from dataclasses import replace

from kinema.datasets.data_config import DataConfig
from kinema.methods.configs import SiamMAEConfig
from kinema.models.vit_config import DecoderConfig, ViTConfig, vit
from kinema.recipes.recipe import MAE_TRAIN, SMOKE_TRAIN, Recipe
from kinema.train.train_config import TrainConfig
from kinema.video.sampling import FramePairs
from kinema.video.transforms import ClipTransform


def siammae_vits16() -> Recipe:
    """The paper's ViT-S/16: Kinetics-400, 2000 effective epochs, batch 2048 (Gupta et al. 2023, Table 4a).

    Command: torchrun --nproc-per-node 8 -m kinema pretrain siammae_vits16 --data $DATA/kinetics400 --out runs/s16
    Cost: the authors used 4 Titan RTX; 13.1 GFLOP per pair and forward pass.
    Published result: DAVIS-2017 J&F 62.0, VIP mIoU 37.3, JHMDB PCK@0.1 47.0. No weights have been released.
    """
    return Recipe(
        method=SiamMAEConfig(encoder=vit("small")),
        data=DataConfig(
            sampling=FramePairs(gap_min=4, gap_max=48), transform=ClipTransform(scale=(0.5, 1.0)), repeats=2
        ),
        train=replace(MAE_TRAIN, epochs=2000.0, batch_size=2048),
    )


def siammae_vits8() -> Recipe:
    """The paper's ViT-S/8: `siammae_vits16` with patches of 8 pixels, which makes four times the tokens.

    Command: torchrun --nproc-per-node 8 -m kinema pretrain siammae_vits8 --data $DATA/kinetics400 --out runs/s8
    Cost: the authors used 8 Titan RTX.
    Published result: DAVIS-2017 J&F 71.4, VIP mIoU 45.9, JHMDB PCK@0.1 61.9.
    """
    recipe = siammae_vits16()
    return replace(recipe, method=replace(recipe.method, encoder=vit("small", patch_size=8)))


def siammae_vits16_400ep() -> Recipe:
    """The setting of the paper's ablations: ViT-S/16 for 400 effective epochs.

    Command: torchrun --nproc-per-node 8 -m kinema pretrain siammae_vits16_400ep --data $DATA/kinetics400 --out runs/s16
    Cost: a fifth of `siammae_vits16`.
    Published result: DAVIS-2017 J&F 58.1 (as quoted by ToBo); 57.9 in CropMAE's independent run.
    """
    recipe = siammae_vits16()
    return replace(recipe, train=replace(recipe.train, epochs=400.0))


def siammae_vitt16_cpu() -> Recipe:
    """ViT-Ti/16 for your own videos, trained on a laptop in an hour or two, with features meant for 480-pixel frames.

    Crops are small parts of the frame, so that objects have about the same size as in a frame of 480 pixels.
    Command: kinema pretrain siammae_vitt16_cpu --data clips/ --out runs/cpu
    Cost and result: docs/results.md.
    """
    return Recipe(
        method=SiamMAEConfig(
            encoder=vit("tiny", image_size=160),
            decoder=DecoderConfig(width=192, depth=2, num_heads=3),
            mask_ratio=0.9,
        ),
        data=DataConfig(
            sampling=FramePairs(gap_min=2, gap_max=24), transform=ClipTransform(scale=(0.06, 0.4)), repeats=2
        ),
        train=TrainConfig(
            steps=6000,
            warmup_steps=200,
            batch_size=32,
            base_lr=6e-3,
            clip_grad_norm=1.0,
            log_every_steps=20,
            checkpoint_every_steps=200,
            pictures_every_steps=500,
        ),
    )


def siammae_demo() -> Recipe:
    """A small network that learns in minutes from the synthetic set of `make demo`, or from a few clips.

    Command: kinema pretrain siammae_demo --data clips/ --out runs/demo
    Cost: about three minutes on two CPU cores. Result: the table in the README, which `make demo` prints.
    """
    return Recipe(
        method=SiamMAEConfig(
            encoder=ViTConfig(width=96, depth=6, num_heads=3, patch_size=8, image_size=96),
            decoder=DecoderConfig(width=96, depth=2, num_heads=3),
            mask_ratio=0.9,
        ),
        data=DataConfig(
            sampling=FramePairs(gap_min=2, gap_max=16), transform=ClipTransform(scale=(0.06, 0.25)), repeats=4
        ),
        train=TrainConfig(
            steps=650,
            warmup_steps=50,
            batch_size=32,
            base_lr=8e-3,
            clip_grad_norm=1.0,
            log_every_steps=50,
            checkpoint_every_steps=200,
            pictures_every_steps=650,
        ),
    )


def siammae_smoke() -> Recipe:
    """Twenty steps of a toy network, to check that everything runs on this machine and with these files.

    Command: kinema pretrain siammae_smoke --data clips/ --out runs/smoke
    Cost: seconds. Result: none, because the network learns nothing in so few steps.
    """
    return Recipe(
        method=SiamMAEConfig(
            encoder=ViTConfig(width=48, depth=2, num_heads=3, image_size=64),
            decoder=DecoderConfig(width=48, depth=1, num_heads=3),
            mask_ratio=0.75,
        ),
        data=DataConfig(repeats=2),
        train=SMOKE_TRAIN,
    )
