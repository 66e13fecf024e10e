"""Times an optimization step of VideoMAE here and in Hugging Face's transformers, with the same weights and data.

    python benchmarks/pretraining.py [--size small] [--batch 4] [--repeats 8] [--device cpu] [--profile]

The two alternate, with the same clips and masks, in bf16 autocast with fused AdamW; transformers uses its SDPA
attention. Prints clips/s of each, the ratio of the median times, both losses, and on a GPU the share of its bf16 peak
(`--peak-tflops`). The clips are noise, because decoding is not measured here. CPU time is printed next to wall time,
because other work on the machine affects it less.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from kinema.methods.configs import VideoMAEConfig
from kinema.methods.videomae import VideoMAE
from kinema.ops.pixels import standardize
from kinema.recipes.registry import get_recipe
from kinema.types import ClipBatch
from kinema.weights.formats.huggingface import from_huggingface

RECIPES = {"small": "videomae_vits16_k400", "base": "videomae_vitb16_k400", "large": "videomae_vitl16_k400"}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=RECIPES, default="small")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--peak-tflops", type=float, help="peak of the GPU in dense bf16")
    parser.add_argument("--profile", action="store_true", help="profile one step of each")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    device = torch.device(given.device)
    config = get_recipe(RECIPES[given.size]).method
    assert isinstance(config, VideoMAEConfig)
    steps = {
        "transformers": _prepare_transformers(config, given.batch, device),
        "kinema": _prepare_kinema(config, given.batch, device),
    }
    wall: dict[str, list[float]] = {name: [] for name in steps}
    cpu: dict[str, list[float]] = {name: [] for name in steps}
    losses: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(given.repeats + 2):
        for name, step in steps.items():
            started, cpu_started = time.perf_counter(), time.process_time()
            losses[name].append(step())
            if repeat >= 2:  # the first two steps warm up
                wall[name].append(time.perf_counter() - started)
                cpu[name].append(time.process_time() - cpu_started)
    gflop = _count_gflop(config)
    for name in steps:
        seconds, busy = statistics.median(wall[name]), statistics.median(cpu[name])
        rate = given.batch / seconds
        mfu = f", {rate * gflop / given.peak_tflops / 10:.0f} % of peak" if given.peak_tflops else ""
        print(
            f"{name}: {rate:.2f} clips/s (best {given.batch / min(wall[name]):.2f}), {busy / given.batch:.3f} CPU s a "
            f"clip, {rate * gflop / 1000:.2f} TFLOP/s{mfu}; loss {losses[name][0]:.5f} -> {losses[name][-1]:.5f}"
        )
    for label, times in (("wall", wall), ("processor", cpu)):
        median, best = (f(times["transformers"]) / f(times["kinema"]) for f in (statistics.median, min))
        print(f"{label} time: {median:.2f}x (median of {given.repeats}), {best:.2f}x (best)")
    if given.profile:
        for name, step in steps.items():
            print(f"\n{name}\n{_profile(step)}")


def _prepare_transformers(config: VideoMAEConfig, batch: int, device: torch.device) -> Callable[[], float]:
    frames, mask = _make_clips(config, batch)
    model = _build_transformers_model(config).to(device)
    clips, hidden = standardize(frames).to(device), mask.to(device)
    return _make_step(model, lambda: model(clips, bool_masked_pos=hidden).loss, device)


def _prepare_kinema(config: VideoMAEConfig, batch: int, device: torch.device) -> Callable[[], float]:
    frames, _ = _make_clips(config, batch)
    their_model = _build_transformers_model(config)
    weights = from_huggingface(their_model.state_dict(), their_model.config.to_dict(), where="memory")
    method = VideoMAE(config)
    method.encoder.load_state_dict(weights.encoder_tensors)
    assert weights.decoder_tensors is not None
    method.decoder.load_state_dict(weights.decoder_tensors)
    method.to(device)
    clips = ClipBatch(frames=frames, seeds=torch.arange(batch), ids=("noise",) * batch).to(device)
    return _make_step(method, lambda: method(clips, 0.0).loss, device)


def _make_clips(config: VideoMAEConfig, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    encoder = config.encoder
    size = (batch, encoder.num_frames, 3, encoder.image_size, encoder.image_size)
    frames = torch.randint(0, 256, size, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return frames, VideoMAE(config).mask(torch.arange(batch)).hidden()


def _build_transformers_model(config: VideoMAEConfig) -> nn.Module:
    from transformers import VideoMAEConfig as TheirConfig
    from transformers import VideoMAEForPreTraining

    encoder, decoder = config.encoder, config.decoder
    torch.manual_seed(0)
    described = TheirConfig(
        hidden_size=encoder.width,
        num_hidden_layers=encoder.depth,
        num_attention_heads=encoder.num_heads,
        intermediate_size=4 * encoder.width,
        decoder_hidden_size=decoder.width,
        decoder_num_hidden_layers=decoder.depth,
        decoder_num_attention_heads=decoder.num_heads,
        decoder_intermediate_size=4 * decoder.width,
        layer_norm_eps=encoder.norm_eps,
        use_mean_pooling=False,
        attn_implementation="sdpa",
    )
    return VideoMAEForPreTraining(described).train()


def _make_step(model: nn.Module, loss_of: Callable[[], torch.Tensor], device: torch.device) -> Callable[[], float]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), fused=True)

    def step() -> float:
        with torch.autocast(device.type, torch.bfloat16):
            loss = loss_of()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()  # also waits for a GPU

    return step


def _count_gflop(config: VideoMAEConfig) -> float:
    """Counts GFLOP of the matrix products for one clip, forward and twice as many backward."""
    encoder, decoder = config.encoder, config.decoder
    hidden = int(config.mask_ratio * encoder.grid[0] * encoder.grid[1]) * encoder.clip_grid[0]
    visible = encoder.num_tokens - hidden

    def blocks(tokens: int, width: int, depth: int) -> float:
        return depth * (12 * tokens * width**2 + 2 * tokens**2 * width)

    products = blocks(visible, encoder.width, encoder.depth) + blocks(encoder.num_tokens, decoder.width, decoder.depth)
    products += visible * encoder.width * (encoder.patch_values + decoder.width)
    products += hidden * decoder.width * encoder.patch_values
    return 6 * products / 1e9


def _profile(step: Callable[[], float]) -> str:
    with profile(activities=[ProfilerActivity.CPU]) as report:
        step()
    return report.key_averages().table(sort_by="self_cpu_time_total", row_limit=20, max_name_column_width=50)


if __name__ == "__main__":
    main()
