"""Recipes for ViC-MAE and the contrastive methods it is compared with.

Costs without a source were measured by us on two CPU cores.
"""

from dataclasses import replace
from typing import Any

from kinema.datasets.data_config import DataConfig
from kinema.methods.vicmae_config import ViCMAEConfig
from kinema.models.vit_config import MaskedDecoderConfig, ProjectorConfig, ViTConfig, vit
from kinema.recipes.recipe import MAE_TRAIN, SMOKE_TRAIN, Recipe
from kinema.train.train_config import TrainConfig
from kinema.video.photometric import COLORS
from kinema.video.sampling import FramePairs
from kinema.video.transforms import ClipTransform

DISTANT = FramePairs(gap_min=1.06, gap_max=1.06, unit="seconds")
"""Two frames 1.06 s apart, the paper's best gap, drawn again in each epoch."""
BY_KIND = DataConfig(
    sampling=DISTANT,
    transform=ClipTransform(scale=(0.5, 1.0)),
    frame_views=True,
    images_apart=True,
    image_transform=ClipTransform(scale=(0.5, 1.0), photometric=replace(COLORS, blur=0.5)),
    images=True,
    repeats=1,
)
"""The paper's views: those of a video differ in time, those of an image in color and blur."""


def vicmae_vitb16_k400_in1k() -> Recipe:
    """ViC-MAE ViT-B/16 on Kinetics-400 and ImageNet-1k together: 800 epochs, batch 4096.

    Command: torchrun --nproc-per-node 8 -m kinema pretrain vicmae_vitb16_k400_in1k --data
    $DATA/kinetics400/train $DATA/imagenet/train --out runs/vicmae
    Cost: not published. All files are drawn equally often, so a batch is 84 % images unless --data.image-share is set.
    Published result: 80.8 top-1 on Kinetics-400 (ViT-B, fine-tuned, 16 frames, 3 × 7 views).
    """
    return Recipe(
        method=ViCMAEConfig(),
        data=BY_KIND,
        train=MAE_TRAIN,
    )


def vicmae_vitl16_k400_in1k() -> Recipe:
    """ViC-MAE ViT-L/16 on Kinetics-400 and ImageNet-1k together.

    Command: torchrun --nproc-per-node 8 -m kinema pretrain vicmae_vitl16_k400_in1k --data
    $DATA/kinetics400/train $DATA/imagenet/train --out runs/vicmae
    Cost: not published.
    Published result: 86.0 top-1 on ImageNet, 86.8 on Kinetics-400, 75.0 on Something-Something v2, fine-tuned.
    """
    recipe = vicmae_vitb16_k400_in1k()
    return replace(recipe, method=replace(recipe.method, encoder=vit("large")))


def vicmae_vitl16_k710_mit_in1k() -> Recipe:
    """ViC-MAE ViT-L/16 on Kinetics-400, -600 and -700, Moments in Time and ImageNet-1k, about 4.25 million files.

    Command: torchrun --nproc-per-node 8 -m kinema pretrain vicmae_vitl16_k710_mit_in1k --data
    $DATA/kinetics710/train $DATA/moments/training $DATA/imagenet/train --out runs/vicmae
    Cost: not published.
    Published result: 87.1 top-1 on ImageNet, 87.8 on Kinetics-400, 75.9 on Something-Something v2, fine-tuned.
    """
    return vicmae_vitl16_k400_in1k()


def vicmae_vitb16_mit() -> Recipe:
    """ViC-MAE ViT-B/16 on the videos of Moments in Time alone, without images.

    Command: torchrun --nproc-per-node 8 -m kinema pretrain vicmae_vitb16_mit --data $DATA/moments/training
    --out runs/vicmae
    Cost and result: not published.
    """
    recipe = vicmae_vitb16_k400_in1k()
    return replace(recipe, data=replace(recipe.data, images=False))


def vicmae_vitl16_mit() -> Recipe:
    """ViC-MAE ViT-L/16 on the videos of Moments in Time alone, without images.

    Command: torchrun --nproc-per-node 8 -m kinema pretrain vicmae_vitl16_mit --data $DATA/moments/training
    --out runs/vicmae
    Cost: not published.
    Published result: 85.3 top-1 on ImageNet, fine-tuned on it; it is not an accuracy on Moments in Time.
    """
    recipe = vicmae_vitl16_k400_in1k()
    return replace(recipe, data=replace(recipe.data, images=False))


def mocov3_vits16() -> Recipe:
    """MoCo v3 ViT-S/16 on images (Chen et al. 2021, arXiv:2104.02057): 300 epochs, batch 4096, 12 heads.

    Views are not masked, the class token is compared, the target is a moving average, and the patch embedding stays
    as it was initialized.
    Command: torchrun --nproc-per-node 8 -m kinema pretrain mocov3_vits16 --data $DATA/imagenet/train --out runs/moco
    Cost and result: see the paper; none measured here.
    """
    return Recipe(
        method=_configure_contrast(
            encoder=replace(vit("small"), num_heads=12),
            contrast=0.8,  # the paper scales each of the two directions by 2 T; here they are averaged
            projector=ProjectorConfig(layers=3, hidden=4096, out=256, bias=False, last_norm=True),
            predictor=ProjectorConfig(layers=2, hidden=4096, out=256, bias=False, last_norm=True),
            loss="info_nce",
            temperature=0.2,
            target="momentum",
            frozen_patches=True,
        ),
        data=_draw_two_views(scale=(0.08, 1.0), second_blur=0.1, second_solarize=0.2, blur=1.0),
        train=TrainConfig(
            epochs=300.0, warmup_epochs=40.0, batch_size=4096, base_lr=1.5e-4, weight_decay=0.1, betas=(0.9, 0.999)
        ),
    )


def simclr_vits16() -> Recipe:
    """SimCLR with a ViT-S/16 on images (Chen et al. 2020, arXiv:2002.05709): all other views are negatives.

    The training is MoCo v3's, whose authors also trained SimCLR with a ViT. The patch embedding is learned.
    Command: torchrun --nproc-per-node 8 -m kinema pretrain simclr_vits16 --data $DATA/imagenet/train --out runs/simclr
    Cost and result: none measured here.
    """
    recipe = mocov3_vits16()
    return Recipe(
        method=_configure_contrast(
            encoder=vit("small"),
            contrast=1.0,
            projector=ProjectorConfig(layers=3, hidden=4096, out=256, bias=False, last_norm=True),
            loss="nt_xent",
            temperature=0.1,
        ),
        data=_draw_two_views(scale=(0.08, 1.0), blur=0.5),
        train=recipe.train,
    )


def simsiam_vits16() -> Recipe:
    """SimSiam with a ViT-S/16 on images (Chen & He 2021, arXiv:2011.10566): no negatives, no moving average.

    The heads are as published (2048 channels, a predictor with 512 hidden channels), the training is MoCo v3's.
    Command: torchrun --nproc-per-node 8 -m kinema pretrain simsiam_vits16 --data $DATA/imagenet/train --out runs/siam
    Cost and result: none measured here. The log warns if the network collapses.
    """
    recipe = mocov3_vits16()
    return Recipe(
        method=_configure_contrast(
            encoder=vit("small"),
            contrast=1.0,
            projector=ProjectorConfig(layers=3, hidden=2048, out=2048, bias=False, last_norm=True),
            predictor=ProjectorConfig(layers=2, hidden=512, out=2048),
            loss="simsiam",
            target="stopped",
        ),
        data=_draw_two_views(scale=(0.2, 1.0), blur=0.5),
        train=replace(recipe.train, batch_size=1024),
    )


def _configure_contrast(**changes: Any) -> ViCMAEConfig:
    """Configures a method that only contrasts the class tokens of whole views."""
    return ViCMAEConfig(mask_ratio=0.0, reconstruction=0.0, pooling="class", **changes)


def _draw_two_views(*, scale: tuple[float, float], blur: float, **second: float) -> DataConfig:
    """Configures two augmentations of the same image, or of the same frame of a video."""
    return DataConfig(
        sampling=FramePairs(gap_min=0, gap_max=0),
        transform=ClipTransform(scale=scale, photometric=replace(COLORS, blur=blur, **second)),
        frame_views=True,
        images=True,
        repeats=1,
    )


def vicmae_vitt16_cpu() -> Recipe:
    """ViC-MAE ViT-Ti/16 for your own videos and photographs, trained on a laptop in half an hour at 112 pixels.

    Command: kinema pretrain vicmae_vitt16_cpu --data clips/ photos/ --out runs/vicmae
    Cost and result: docs/results.md. Without photographs: `vicmae_vitt16_videos_cpu`.
    """
    return Recipe(
        method=ViCMAEConfig(
            encoder=vit("tiny", image_size=112),
            decoder=MaskedDecoderConfig(width=96, depth=2, num_heads=3, embed_bias=True),
            projector=ProjectorConfig(hidden=512, out=128),
        ),
        data=replace(
            BY_KIND,
            transform=ClipTransform(scale=(0.2, 1.0)),
            image_transform=replace(BY_KIND.image_transform, scale=(0.2, 1.0)),
            image_share=0.4,
        ),
        train=TrainConfig(
            steps=2000,
            warmup_steps=100,
            batch_size=64,
            base_lr=4e-3,
            clip_grad_norm=1.0,
            log_every_steps=20,
            checkpoint_every_steps=200,
            pictures_every_steps=500,
        ),
    )


def vicmae_vitt16_videos_cpu() -> Recipe:
    """`vicmae_vitt16_cpu` without photographs: where to start with your own footage (videos, or folders of frames).

    Command: kinema pretrain vicmae_vitt16_videos_cpu --data clips/ --out runs/a
    Cost: fifteen minutes on one core. Result: docs/results.md.
    """
    recipe = vicmae_vitt16_cpu()
    return replace(
        recipe,
        data=replace(recipe.data, images=False, image_share=None),
        train=replace(recipe.train, steps=1000, warmup_steps=50),
    )


def vicmae_demo() -> Recipe:
    """A small network that learns in minutes from clips and photographs: the recipe of `kinema ablate vicmae`.

    Command: kinema pretrain vicmae_demo --data clips/ photos/ --out runs/demo
    Cost: about three CPU minutes. Result: docs/studies. Without photographs, add --data.image-share None.
    """
    recipe = vicmae_vitt16_cpu()
    small = ViTConfig(width=96, depth=6, num_heads=3, patch_size=8, image_size=64)
    heads = ProjectorConfig(hidden=256, out=128)
    return replace(
        recipe,
        method=replace(recipe.method, encoder=small, projector=heads),
        train=replace(recipe.train, steps=400, warmup_steps=30, batch_size=32, pictures_every_steps=None),
    )


def vicmae_smoke() -> Recipe:
    """Twenty steps of a toy network, to check that everything runs on this machine and with these files.

    Command: kinema pretrain vicmae_smoke --data clips/ photos/ --out runs/smoke
    Cost: seconds. Result: none, because the network learns nothing in so few steps.
    """
    return Recipe(
        method=ViCMAEConfig(
            encoder=ViTConfig(width=48, depth=2, num_heads=3, image_size=64),
            decoder=MaskedDecoderConfig(width=48, depth=1, num_heads=3, embed_bias=True),
            projector=ProjectorConfig(hidden=64, out=32),
        ),
        data=BY_KIND,
        train=SMOKE_TRAIN,
    )
