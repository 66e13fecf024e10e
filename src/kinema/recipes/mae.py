"""Recipes for MAE and MAE-ST, which are VideoMAE's method with other masks."""

from dataclasses import replace

from kinema.datasets.data_config import DataConfig
from kinema.methods.configs import VideoMAEConfig
from kinema.models.vit_config import MaskedDecoderConfig, vit
from kinema.recipes.recipe import MAE_TRAIN, Recipe
from kinema.video.sampling import Clips
from kinema.video.transforms import ClipTransform


def mae_st_vitl16_k400() -> Recipe:
    """MAE-ST ViT-L on Kinetics-400 (Feichtenhofer et al. 2022, arXiv:2205.09113).

    90 % of all tokens are hidden at random, half of the frames are predicted, and every video gives 4 clips. Positions
    in space and time are learned separately, with a class token, a decoder of 4 blocks, and clipped gradients. Batch
    size and warm-up are our choice, because our sources do not state them.
    Command: torchrun --nproc-per-node 8 -m kinema pretrain mae_st_vitl16_k400 --data $DATA/kinetics400 --out runs/st
    Cost: 800 epochs of clips, for which videos are decoded in 200 passes.
    Published result: 84.8 top-1 on Kinetics-400, fine-tuned.
    """
    encoder = replace(
        vit("large"), num_frames=16, tubelet_size=2, positions="separable", class_token=True, qkv_bias="full"
    )
    return Recipe(
        method=VideoMAEConfig(
            encoder=encoder,
            decoder=MaskedDecoderConfig(width=512, depth=4, num_heads=16, embed_bias=True),
            mask="random",
            mask_ratio=0.9,
            floor="visible",
            target="patch_normalized",
            target_pixels="standardized",
            target_frames="half",
        ),
        data=DataConfig(
            sampling=Clips(num_frames=16, stride=4), transform=ClipTransform(scale=(0.5, 1.0), flip=0.5), repeats=4
        ),
        train=replace(
            MAE_TRAIN,
            warmup_epochs=120.0,
            batch_size=2048,
            base_lr=4e-4,  # 1.6e-3 in the paper, which counts the 4 clips of a video as one sample
            clip_grad_norm=0.02,
        ),
    )


def mae_vitb16() -> Recipe:
    """MAE ViT-B on images, which are clips of one frame (He et al. 2022, arXiv:2111.06377).

    Command: torchrun --nproc-per-node 8 -m kinema pretrain mae_vitb16 --data $DATA/imagenet --out runs/mae
    Cost: 800 epochs of batch 4096.
    Published result: 83.6 top-1 on ImageNet-1k after 1600 epochs, fine-tuned.
    """
    return Recipe(
        method=VideoMAEConfig(
            encoder=vit("base"),
            decoder=MaskedDecoderConfig(width=512, depth=8, num_heads=16, embed_bias=True),
            mask="random",
            mask_ratio=0.75,
            floor="visible",
            target="patch_normalized",
            target_pixels="standardized",
        ),
        data=DataConfig(
            sampling=Clips(num_frames=1, stride=1),
            transform=ClipTransform(scale=(0.2, 1.0), flip=0.5),
            repeats=1,
            images=True,
        ),
        train=MAE_TRAIN,
    )


def mae_vitb16_in1k() -> Recipe:
    """MAE ViT-B/16 on ImageNet-1k for 1600 epochs, one view per image (He et al. 2022): the baseline of image transfer.

    Command: torchrun --nproc-per-node 8 -m kinema pretrain mae_vitb16_in1k --data $DATA/imagenet/train --out runs/mae
    Cost: 1600 epochs of batch 4096.
    Published result: 83.6 top-1 on ImageNet fine-tuned, 68.0 by a linear probe.
    """
    recipe = mae_vitb16()
    return replace(recipe, train=replace(recipe.train, epochs=1600.0))
