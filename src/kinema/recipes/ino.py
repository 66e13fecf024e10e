"""Recipes for INO, DINO and iBOT. Costs without a source were measured by us on two CPU cores."""

from dataclasses import replace

from kinema.datasets.data_config import DataConfig, LocalCrops
from kinema.methods.ino_config import INOConfig, Temperature
from kinema.models.vit_config import PrototypeHeadConfig, ViTConfig, vit
from kinema.recipes.recipe import Recipe
from kinema.train.train_config import TrainConfig
from kinema.video.photometric import COLORS
from kinema.video.sampling import Clips
from kinema.video.transforms import ClipTransform

_EIGHT_FPS = Clips(num_frames=4, stride=0.125, unit="seconds")
_ONE_FRAME_TWICE = Clips(num_frames=2, stride=1)
"""The clip of an image repeats its one frame; the clip of a video has two consecutive frames."""
_DINO_TRAIN = TrainConfig(
    epochs=100.0,
    warmup_epochs=10.0,
    batch_size=512,
    base_lr=5e-4,
    min_lr=1e-6,
    weight_decay=0.04,
    weight_decay_end=0.4,
    betas=(0.9, 0.999),
    warmup_end="last_step",
    clip_grad_norm=3.0,
    clip_grad_of="tensor",
)


def ino_vits8_charades() -> Recipe:
    """INO ViT-S/8 on Charades: 25 epochs from scratch, 4 frames at 8 fps, as in the released script.

    The authors' epoch has up to five clips of each video, so 25 of them are 125 epochs of one clip here.
    Command: torchrun --nproc-per-node 4 -m kinema pretrain ino_vits8_charades --data $DATA/charades --out runs/ino
    Cost: the authors took about 12 hours on 4 V100 of 16 GB.
    Published result: the paper claims "significant margins" on DAVIS-2017 val; we did not have its tables.
    """
    return Recipe(
        method=INOConfig(),
        data=DataConfig(
            sampling=_EIGHT_FPS,
            transform=ClipTransform(scale=(0.8, 0.95), flip=0.0),
            frame_views=True,
            local_crops=LocalCrops(
                count=8, size=64, transform=ClipTransform(scale=(0.05, 0.8), photometric=replace(COLORS, blur=0.5))
            ),
            repeats=1,
        ),
        train=replace(_DINO_TRAIN, epochs=125.0, warmup_epochs=25.0, batch_size=16, base_lr=3e-3),
    )


def ino_vits8_k400() -> Recipe:
    """INO ViT-S/8 on Kinetics-400: a tenth of Charades' learning rate, twice its batch, a short warm-up.

    Command: torchrun --nproc-per-node 8 -m kinema pretrain ino_vits8_k400 --data $DATA/kinetics400 --out runs/ino
    Cost: the authors took about a week on 8 V100 of 16 GB.
    Published result: see `ino_vits8_charades`.
    """
    recipe = ino_vits8_charades()
    return replace(recipe, train=replace(recipe.train, warmup_epochs=10.0, batch_size=32, base_lr=3e-4))


def ino_vits16_charades() -> Recipe:
    """INO ViT-S/16 on Charades: `ino_vits8_charades` with patches of 16 pixels, which makes a quarter of the tokens.

    Command: torchrun --nproc-per-node 4 -m kinema pretrain ino_vits16_charades --data $DATA/charades --out runs/ino16
    Cost: about a fifth of `ino_vits8_charades`. Result: none published.
    """
    return _enlarge_patches(ino_vits8_charades())


def ino_vits16_k400() -> Recipe:
    """INO ViT-S/16 on Kinetics-400: `ino_vits8_k400` with patches of 16 pixels.

    Command: torchrun --nproc-per-node 8 -m kinema pretrain ino_vits16_k400 --data $DATA/kinetics400 --out runs/ino16
    Cost: about a fifth of `ino_vits8_k400`. Result: none published.
    """
    return _enlarge_patches(ino_vits8_k400())


def _enlarge_patches(recipe: Recipe) -> Recipe:
    assert isinstance(recipe.method, INOConfig)
    encoder = replace(recipe.method.encoder, patch_size=16, image_size=128)
    return replace(recipe, method=replace(recipe.method, encoder=encoder))


def dino_vits16() -> Recipe:
    """DINO ViT-S/16 on images (Caron et al. 2021, arXiv:2104.14294): 100 epochs, 2 global and 8 local views.

    Command: torchrun --nproc-per-node 8 -m kinema pretrain dino_vits16 --data $DATA/imagenet/train --out runs/dino
    Cost: the authors took about 1.75 days on 8 GPUs.
    Published result: 69.3 k-NN, 74.0 linear on ImageNet after 100 epochs; DAVIS-2017 J&F 61.8 after 800.
    """
    views = ClipTransform(scale=(0.4, 1.0), photometric=replace(COLORS, blur=1.0, second_blur=0.1, second_solarize=0.2))
    return Recipe(
        method=INOConfig(
            encoder=replace(vit("small"), positions="learned"),
            head=PrototypeHeadConfig(prototypes=65536),
            num_frames=2,
            mask_probability=0.0,
            masked_tokens=0.0,
            consistency=0.0,
            center_updates="step",
            frozen_prototypes=0.01,
        ),
        data=DataConfig(
            sampling=_ONE_FRAME_TWICE,
            transform=views,
            frame_views=True,
            images=True,
            local_crops=LocalCrops(
                count=4, size=96, transform=ClipTransform(scale=(0.05, 0.4), photometric=replace(COLORS, blur=0.5))
            ),
            repeats=1,
        ),
        train=_DINO_TRAIN,
    )


def ibot_vits16() -> Recipe:
    """iBOT ViT-S/16 on images (Zhou et al. 2022, arXiv:2111.07832): 800 epochs, 2 global and 10 local views.

    Command: torchrun --nproc-per-node 16 -m kinema pretrain ibot_vits16 --data $DATA/imagenet/train --out runs/ibot
    Cost: not published in GPU hours. As released, half of the views have a block mask of 10 to 50 %.
    Published result: 75.2 k-NN, 77.9 linear on ImageNet.
    """
    recipe = dino_vits16()
    assert isinstance(recipe.method, INOConfig)
    views = ClipTransform(scale=(0.25, 1.0), photometric=recipe.data.transform.photometric)
    local = recipe.data.local_crops
    return Recipe(
        method=replace(
            recipe.method,
            head=PrototypeHeadConfig(prototypes=8192, prototype_norm=True),  # --norm_last_layer false
            mask="block",
            mask_of="frame",
            mask_probability=0.5,
            masked_tokens=1.0,
            patch_center="all",
            teacher_temperature=Temperature(start=0.04, end=0.07, warmup=30 / 800),
            patch_teacher_temperature=Temperature(start=0.04, end=0.07, warmup=30 / 800),
            frozen_prototypes=1 / 800,
        ),
        data=replace(
            recipe.data,
            transform=views,
            local_crops=replace(local, count=5, transform=replace(local.transform, scale=(0.05, 0.25))),
        ),
        train=replace(recipe.train, epochs=800.0, batch_size=1024),
    )


def ino_vitt16_cpu() -> Recipe:
    """INO ViT-Ti/16 for your own videos, trained on a laptop, with features meant for 480-pixel frames.

    Views are small parts of the frame, so that objects have about the same size as in a frame of 480 pixels. Few
    prototypes and a fast teacher suit a thousand steps. Each clip of a batch comes from another video, because the
    class tokens of 16 clips from only four videos have little to tell apart and drift toward uniform assignments.
    Command: kinema pretrain ino_vitt16_cpu --data clips/ --out runs/ino
    Cost and result: docs/results.md.
    """
    return Recipe(
        method=INOConfig(
            encoder=replace(vit("tiny", image_size=112), positions="learned"),
            head=PrototypeHeadConfig(hidden=512, bottleneck=128, prototypes=1024),
            crop_size=112,
            drop_path=0.0,
            momentum=(0.99, 1.0),
            frozen_prototypes=0.02,
        ),
        data=DataConfig(
            sampling=_EIGHT_FPS,
            transform=ClipTransform(scale=(0.15, 0.5), flip=0.0),
            frame_views=True,
            local_crops=LocalCrops(
                count=4, size=48, transform=ClipTransform(scale=(0.03, 0.2), photometric=replace(COLORS, blur=0.2))
            ),
            repeats=1,
        ),
        train=TrainConfig(
            steps=1150,
            warmup_steps=115,
            batch_size=16,
            base_lr=8e-3,
            min_lr=1e-6,
            weight_decay=0.04,
            weight_decay_end=0.2,
            betas=(0.9, 0.999),
            clip_grad_norm=3.0,
            log_every_steps=10,
            checkpoint_every_steps=100,
        ),
    )


def ino_demo() -> Recipe:
    """A small network that learns in minutes from synthetic clips: the recipe of `kinema ablate ino`.

    Command: kinema pretrain ino_demo --data clips/ --out runs/demo
    Cost: about four CPU minutes. Result: docs/results.md.
    """
    recipe = ino_vitt16_cpu()
    small = ViTConfig(width=96, depth=6, num_heads=3, patch_size=8, image_size=64, positions="learned")
    assert isinstance(recipe.method, INOConfig)
    return Recipe(
        method=replace(
            recipe.method,
            encoder=small,
            head=PrototypeHeadConfig(hidden=256, bottleneck=64, prototypes=256),
            crop_size=64,
        ),
        data=replace(
            recipe.data,
            transform=ClipTransform(scale=(0.1, 0.5), flip=0.0),
            local_crops=replace(recipe.data.local_crops, count=2, size=32),
        ),
        train=replace(recipe.train, steps=300, warmup_steps=30, batch_size=8, base_lr=1.6e-2),
    )


def ino_smoke() -> Recipe:
    """Twenty steps of a toy network, to check that everything runs on this machine and with these files.

    Command: kinema pretrain ino_smoke --data clips/ --out runs/smoke
    Cost: seconds. Result: none, because the network learns nothing in so few steps.
    """
    recipe = ino_vitt16_cpu()
    return Recipe(
        method=INOConfig(
            encoder=ViTConfig(width=48, depth=2, num_heads=3, image_size=32, positions="learned"),
            head=PrototypeHeadConfig(hidden=64, bottleneck=32, prototypes=64),
            crop_size=64,
        ),
        data=replace(recipe.data, local_crops=replace(recipe.data.local_crops, count=2, size=32), repeats=2),
        train=TrainConfig(
            steps=20,
            warmup_steps=2,
            batch_size=4,
            base_lr=3e-2,
            log_every_steps=5,
            checkpoint_every_steps=10,
        ),
    )
