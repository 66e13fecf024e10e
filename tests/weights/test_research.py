"""Files in research layouts, built from their documentation, are read as the network they contain."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kinema.errors import WeightsError
from kinema.models.vit_config import ViTConfig
from kinema.weights.read import read_weights
from tests.weights.layouts import (
    CLIPS,
    FRAMES,
    dino_head,
    mae_st,
    random_vit,
    renamed,
    saved,
    state,
    training,
    under,
    videomae,
    without_pos,
)

REGISTERS = replace(FRAMES, register_tokens=4, layer_scale=True)
SWIGLU = replace(FRAMES, layer_scale=True, mlp="swiglu")
DINOV3 = replace(FRAMES, register_tokens=4, layer_scale=True, positions="rotary", norm_eps=1e-5, image_size=224)
BEIT = replace(FRAMES, layer_scale=True, qkv_bias="query_value", positions="relative")
VJEPA = replace(
    FRAMES, class_token=False, num_frames=64, tubelet_size=2, image_size=256, positions="rotary_3d", rotary_base=1e4
)
MOCO = replace(FRAMES, width=384, num_heads=12, depth=1)
HEAD = {"head.weight": torch.zeros(5, 192), "head.bias": torch.zeros(5)}
BATCH_NORM = {f"head.{n}.{k}": torch.ones(2) for n in (0, 1) for k in ("weight", "running_mean")}


def swiglu_names(tensors: dict[str, Tensor], *, apart: bool) -> dict[str, Tensor]:
    """Renames the MLP to DINOv2's w12 and w3, or to DINOv3's w1, w2 and w3."""
    found = {}
    for name, tensor in renamed(tensors, mlp__fc1="mlp.w12", mlp__fc2="mlp.w3").items():
        if apart and ".w12." in name:
            found |= {name.replace("w12", f"w{n + 1}"): half.clone() for n, half in enumerate(tensor.chunk(2))}
        else:
            found[name] = tensor
    return found


def beit_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    found = renamed(videomae(tensors), ls1__gamma="gamma_1", ls2__gamma="gamma_2", attn__relative__="attn.")
    index = torch.zeros(17, 17, dtype=torch.long)
    return found | {f"blocks.{n}.attn.relative_position_index": index for n in range(2)}


def moco(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    base, momentum = (under(f"module.{role}_encoder.", tensors | BATCH_NORM) for role in ("base", "momentum"))
    return base | momentum | {"module.predictor.0.weight": torch.ones(2)}


def bias_masked(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Adds a bias of keys and the mask that removes it."""
    found = dict(tensors)
    for name in [name for name in tensors if name.endswith("qkv.bias")]:
        mask = torch.ones(3 * 192)
        mask[192:384] = 0
        found[f"{name}_mask"] = mask
    return found


DINOV3_EXTRA = {"rope_embed.periods": 100 ** (torch.arange(16) / 16), "mask_token": torch.zeros(1, 192)}
LAYOUTS = {
    "mae encoder": (FRAMES, lambda s: training(model=s), "plain ViT"),
    "mae fine-tuned": (
        replace(FRAMES, final_norm=False),
        lambda s: training(model=s | HEAD | {"fc_norm.weight": torch.ones(192), "fc_norm.bias": torch.ones(192)}),
        "plain ViT",
    ),
    "dino backbone": (FRAMES, lambda s: s, "plain ViT"),
    "dino": (
        FRAMES,
        lambda s: training(
            student=under("module.backbone.", s) | dino_head("module.head."),
            teacher=under("backbone.", s) | dino_head("head.", new_weight_norm=True),
        ),
        "DINO (training file)",
    ),
    "ibot": (
        replace(FRAMES, layer_scale=True),
        lambda s: training(
            teacher=under("backbone.", renamed(s, ls1__gamma="gamma_1", ls2__gamma="gamma_2"))
            | dino_head("head.")
            | {"head.last_layer2.weight_g": torch.ones(3, 1), "head.last_layer2.weight_v": torch.ones(3, 1)},
        ),
        "iBOT",
    ),
    "ino": (
        replace(FRAMES, image_size=64),
        lambda s: training(
            teacher=under("backbone.", s | {"mask_token": torch.ones(1, 1, 192)})
            | dino_head("headlist.headlist.0.")
            | dino_head("headlist.headlist.1.")
        ),
        "INO",
    ),
    "dinov2 hub": (
        replace(FRAMES, layer_scale=True),
        lambda s: s | {"mask_token": torch.zeros(1, 192)},
        "DINOv2 (hub)",
    ),
    "dinov2 registers": (REGISTERS, lambda s: s | {"mask_token": torch.zeros(1, 192)}, "DINOv2 (hub)"),
    "dinov2 swiglu": (
        SWIGLU,
        lambda s: swiglu_names(s, apart=False) | {"mask_token": torch.zeros(1, 192)},
        "DINOv2 (hub)",
    ),
    "dinov2 training, chunked": (
        replace(FRAMES, layer_scale=True),
        lambda s: training(
            model=under("student.backbone.", s | {"mask_token": torch.ones(1, 192)})
            | under(
                "teacher.backbone.",
                renamed(s, blocks__0="blocks.0.0", blocks__1="blocks.1.1") | {"mask_token": torch.zeros(1, 192)},
            )
        ),
        "DINOv2 (training file",
    ),
    "dinov3 hub": (
        DINOV3,
        lambda s: bias_masked(renamed(s, register_tokens="storage_tokens")) | DINOV3_EXTRA,
        "DINOv3 (hub)",
    ),
    "dinov3 swiglu": (
        replace(DINOV3, mlp="swiglu"),
        lambda s: swiglu_names(renamed(s, register_tokens="storage_tokens"), apart=True) | DINOV3_EXTRA,
        "DINOv3 (hub)",
    ),
    "moco v3": (MOCO, lambda s: training(state_dict=moco(s)), "MoCo v3"),
    "beit": (BEIT, lambda s: training(model=beit_names(s) | {"mask_token": torch.ones(1, 1, 192)}), "BEiT"),
    "beit shared, mean": (
        replace(BEIT, positions="relative_shared", final_norm=False),
        lambda s: training(
            model={k: v for k, v in beit_names(s).items() if "index" not in k}
            | HEAD
            | {"fc_norm.weight": torch.ones(192), "fc_norm.bias": torch.ones(192)}
        ),
        "BEiT",
    ),
    "v-jepa 2": (
        VJEPA,
        lambda s: training(target_encoder=under("module.backbone.", s), encoder=under("module.backbone.", s)),
        "V-JEPA 2",
    ),
    "timm registers": (REGISTERS, lambda s: renamed(s, register_tokens="reg_token"), "timm"),
    "mae-st": (
        replace(FRAMES, num_frames=16, tubelet_size=2, positions="separable"),
        lambda s: training(
            model=mae_st(s)
            | {
                "decoder_cls_token": torch.ones(1),
                "decoder_pos_embed_class": torch.ones(1),
                "mask_token": torch.ones(1),
            }
            | {"decoder_blocks.0.attn.q.weight": torch.ones(1), "decoder_embed.weight": torch.ones(1)}
        ),
        "MAE-ST",
    ),
    "mae-st of slowfast": (
        replace(FRAMES, num_frames=16, tubelet_size=2, positions="separable"),
        lambda s: {"model_state": mae_st(s) | {"head.projection.weight": torch.ones(1)}, "epoch": 1},
        "MAE-ST",
    ),
    "videomae fine-tuned, deepspeed": (
        replace(CLIPS, final_norm=False),
        lambda s: {
            "module": videomae(s) | HEAD | {"fc_norm.weight": torch.ones(192), "fc_norm.bias": torch.ones(192)},
            "global_steps": 3,
        },
        "VideoMAE's encoder",
    ),
    "videomae encoder alone": (CLIPS, lambda s: training(model=videomae(s)), "VideoMAE's encoder"),
    "rsp": (
        FRAMES,
        lambda s: training(
            model=s
            | {"mask_token": torch.ones(1), "decoder_pos_embed": torch.ones(1), "decoder_pred.weight": torch.ones(1)}
            | {f"decoder_blocks.0.{name}.weight": torch.ones(1) for name in ("cattn.kv", "norm_kv1", "mlp2.fc1")}
            | {"to_prior.0.weight": torch.ones(1), "decoder_embed_stoch.weight": torch.ones(1)}
        ),
        "RSP or ToBo",
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
@torch.no_grad()
def test_every_layout_gives_the_features_of_its_network(name: str, tmp_path: Path) -> None:
    config, build, title = LAYOUTS[name]
    encoder = random_vit(config)
    content = build(dict(encoder.state_dict()))
    if name == "dinov3 hub":  # what the mask takes out
        for block in encoder.blocks:
            block.attn.qkv.bias[192:384] = 0
    file = saved(tmp_path, content)
    weights, sha256 = read_weights(f"{file}#size=32" if name.startswith("videomae") else file)
    assert weights.format.startswith(title), weights.format
    assert weights.encoder == config
    assert sha256 is not None
    frames = torch.randn(1, config.tubelet_size, 3, 32, 48)
    assert torch.equal(weights.build_network().dense_clips(frames), encoder.dense_clips(frames))


@pytest.mark.parametrize("branch", ["student", "teacher"])
def test_student_or_teacher(branch: str, tmp_path: Path) -> None:
    student, teacher = state(seed=1), state(seed=2)
    file = saved(
        tmp_path,
        training(
            student=under("module.backbone.", student) | dino_head("module.head."),
            teacher=under("backbone.", teacher) | dino_head("head."),
        ),
    )
    chosen, _ = read_weights(f"{file}#{branch}")
    expected = student if branch == "student" else teacher
    assert all(torch.equal(tensor, expected[name]) for name, tensor in chosen.encoder_tensors.items())
    default, _ = read_weights(file)
    assert torch.equal(default.encoder_tensors["cls_token"], teacher["cls_token"])
    assert list(chosen.aside) == ["the projection head"]
    with pytest.raises(WeightsError, match=r"no momentum_encoder in it .*it has student, teacher"):
        read_weights(f"{file}#momentum_encoder")


def test_sincos_positions_are_recognized_by_their_values(tmp_path: Path) -> None:
    config = replace(FRAMES, positions="sincos")
    stored = state(config)
    weights, _ = read_weights(saved(tmp_path, training(model=stored)))
    assert weights.encoder == config
    stored["pos_embed"] = stored["pos_embed"] + 0.01
    weights, _ = read_weights(saved(tmp_path, training(model=stored)))
    assert weights.encoder.positions == "learned"


def test_half_precision_and_compiled_or_parallel_names(tmp_path: Path) -> None:
    stored = {f"_orig_mod.module.{name}": tensor.half() for name, tensor in state().items()}
    stored = {name.replace("_orig_mod.module.", "module._orig_mod."): tensor for name, tensor in stored.items()}
    weights, _ = read_weights(saved(tmp_path, stored))
    assert {tensor.dtype for tensor in weights.build_network().state_dict().values()} == {torch.float32}


def test_heads_must_be_stated_if_the_width_does_not_tell(tmp_path: Path) -> None:
    config = ViTConfig(width=48, depth=1, num_heads=4, patch_size=8, image_size=32, positions="learned")
    file = saved(tmp_path, state(config))
    with pytest.raises(WeightsError, match="48 channels do not tell the number of heads: state it: PATH#heads=N"):
        read_weights(file)
    weights, _ = read_weights(f"{file}#heads=4,eps=1e-5")
    assert weights.encoder == replace(config, norm_eps=1e-5)
    assert weights.list_facts()["heads_known_from"] == "the options of the source"
    refusals = {"heads=x": "heads cannot be 'x'", "head=3": "did you mean 'heads=N'", "eps=-1": "eps cannot be '-1'"}
    for options, message in refusals.items():
        with pytest.raises(WeightsError, match=message):
            read_weights(f"{file}#{options}")


def test_pixel_statistics_and_heads_of_formats(tmp_path: Path) -> None:
    beit, _ = read_weights(saved(tmp_path, LAYOUTS["beit"][1](state(BEIT))))
    assert beit.pixels.mean == (0.5, 0.5, 0.5)
    st, _ = read_weights(saved(tmp_path, LAYOUTS["mae-st"][1](state(LAYOUTS["mae-st"][0]))))
    assert (st.pixels.mean, st.pixels.std) == ((0.45,) * 3, (0.225,) * 3)
    assert st.decoder is None
    assert any("a decoder with a class token of its own" in what for what in st.aside)
    moco_v3, _ = read_weights(saved(tmp_path, LAYOUTS["moco v3"][1](state(MOCO))))
    assert moco_v3.encoder.num_heads == 12  # of 32 channels: MoCo v3's ViT-S alone


def test_a_class_token_without_a_position(tmp_path: Path) -> None:
    """With timm's `no_embed_class` there are as many positions as patches."""
    stored = state(REGISTERS)
    stored["pos_embed"][:, 0] = 0
    bare = renamed(stored | {"pos_embed": stored["pos_embed"][:, 1:]}, register_tokens="reg_token")
    weights, _ = read_weights(saved(tmp_path, bare))
    assert torch.equal(weights.encoder_tensors["pos_embed"], stored["pos_embed"])


def test_dinov3_positions_of_another_base_are_refused(tmp_path: Path) -> None:
    content = LAYOUTS["dinov3 hub"][1](state(DINOV3)) | {"rope_embed.periods": 50 ** (torch.arange(16) / 16)}
    with pytest.raises(WeightsError, match="periods of another base than 100"):
        read_weights(saved(tmp_path, content))


def test_without_pos_is_no_dino(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"nearest is plain ViT.*1 tensor missing \(pos_embed\)"):
        read_weights(saved(tmp_path, without_pos(state())))
