"""A decoder's cross-attention as the affinity between frames equals the attention of the decoder itself."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kinema.errors import ConfigError, WeightsError
from kinema.features import FeatureExtractor
from kinema.labeling.propagate_video import propagate
from kinema.methods.configs import SiamMAEConfig
from kinema.methods.siammae import SiamMAE
from kinema.models.decoders import CrossBlock, PatchDecoder
from kinema.models.vit_config import DecoderConfig, ViTConfig
from kinema.ops.masking import Mask
from kinema.protocols.registry import get_protocol
from kinema.runs.build import build_method
from kinema.runs.hooks import save_export
from kinema.settings import FeatureSettings, InputSize
from kinema.weights.load import load
from tests.labeling.small import moving_square, square, write_encoder

CONFIG = SiamMAEConfig(
    encoder=ViTConfig(width=48, depth=1, num_heads=3, image_size=64),
    decoder=DecoderConfig(width=32, depth=2, num_heads=2),
    mask_ratio=0.75,
)
SETTINGS = FeatureSettings(size=InputSize(fixed=(64, 64)), affinity="decoder", decoder_block=1)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    save_export(build_method(CONFIG, seed=3), folder, 0)
    return folder


def _compute_logits(method: SiamMAE, past: torch.Tensor, future: torch.Tensor, block: int) -> torch.Tensor:
    """Logits (heads, N, M) of a block's cross-attention from one frame's patches to another's, written out.

    Earlier blocks have attended to the frame itself.
    """
    decoder = method.decoder
    embedded = [decoder.embed(method.encoder(frame)) + decoder.pos_embed for frame in (past, future)]
    stream = embedded[1]
    for earlier in decoder.blocks[: block - 1]:
        stream = earlier(stream, embedded[1])
    chosen = decoder.blocks[block - 1]
    assert isinstance(chosen, CrossBlock)
    heads, width = chosen.cross.num_heads, CONFIG.decoder.width // chosen.cross.num_heads
    query = chosen.cross.q(chosen.norm_cross(stream))[0, 1:].unflatten(-1, (heads, width))
    key = chosen.cross.kv(chosen.norm_memory(embedded[0]))[0, 1:, : CONFIG.decoder.width].unflatten(-1, (heads, width))
    return torch.einsum("nhd,mhd->hnm", query, key) / width**0.5


@pytest.mark.parametrize("block", [1, 2])
def test_products_are_the_mean_logits_of_the_heads(run: Path, block: int) -> None:
    frames = moving_square(2)[:, :, :48]  # 48x48, resized to the training size, where positions are the trained ones
    read = load(run, settings=replace(SETTINGS, decoder_block=block))
    past, future = read.stream_queries_and_keys(frames)
    assert past.keys is not None
    one, other = (read._standardize_frame(frame) for frame in frames)
    with torch.no_grad():
        logits = _compute_logits(build_method(CONFIG, seed=3), one, other, block)
    expected = logits.mean(dim=0)
    assert (logits[0] - logits[1]).abs().max() > 0.01
    found = future.queries.flatten(0, 1) @ past.keys.flatten(0, 1).T
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_the_chosen_block_gets_the_decoder_s_own_inputs(run: Path) -> None:
    """When the decoder attends from a frame to itself, its last cross-attention has the same inputs as here."""
    read = load(run, settings=replace(SETTINGS, decoder_block=-1))
    encoder, decoder = read._load_decoder()
    assert isinstance(decoder, PatchDecoder)
    frame = moving_square(1)[:, :, :48]
    nothing = torch.empty(1, 0, dtype=torch.long)
    whole = Mask(visible_ids=torch.arange(16)[None], target_ids=nothing, num_tokens=16)
    seen = []
    last = decoder.blocks[-1]
    assert isinstance(last, CrossBlock)
    hook = last.cross.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs))
    with torch.no_grad():
        tokens = encoder(read._standardize_frame(frame[0]))
        decoder(tokens, whole, tokens)
    hook.remove()
    (compared,) = read.stream_queries_and_keys(frame)
    with torch.no_grad():
        queries, keys = last.cross.queries_and_keys(*seen[0])  # pyright: ignore
    torch.testing.assert_close(compared.queries.flatten(0, 1), queries[0, 1:])
    assert compared.keys is not None
    torch.testing.assert_close(compared.keys.flatten(0, 1), keys[0, 1:])


def test_propagates_labels_with_the_decoder_s_affinity(run: Path) -> None:
    dino = get_protocol("dino_480p")
    features = replace(dino.features, size=InputSize(fixed=(48, 80)), affinity="decoder")
    propagation = replace(dino.propagation, similarity="dot", temperature=1.0)
    attending = replace(dino, features=features, propagation=propagation)
    frames, mask = moving_square(3), square()
    read = load(run)
    by_decoder = np.stack(list(propagate(frames, mask, read, attending)))
    assert by_decoder[0].any()
    plain = replace(attending, features=replace(features, affinity="features"))
    assert not np.array_equal(by_decoder, np.stack(list(propagate(frames, mask, read, plain))))


def test_untrained_decoders_equal_those_at_the_start_of_a_run(run: Path) -> None:
    fresh, trained = load(f"untrained:{run}@3", settings=SETTINGS), load(run, settings=SETTINGS)
    frame = moving_square(1)
    (one,), (other,) = fresh.stream_queries_and_keys(frame), trained.stream_queries_and_keys(frame)
    assert torch.equal(one.queries, other.queries)
    (third,) = load(f"untrained:{run}@4", settings=SETTINGS).stream_queries_and_keys(frame)
    assert not torch.equal(one.queries, third.queries)


def test_rejects_weights_without_a_decoder_when_loading(run: Path, tmp_path: Path) -> None:
    bare = str(write_encoder(tmp_path / "bare"))
    for name in (bare, f"untrained:{bare}", "untrained:tiny/16", "pixels:16"):
        with pytest.raises(WeightsError, match=r"decoder that attends.*: give the run folder of a SiamMAE"):
            load(name, settings=SETTINGS)
        assert isinstance(load(name), FeatureExtractor)


def test_rejects_settings_that_contradict_each_other(run: Path) -> None:
    for change in ({"layer": 3}, {"centered": True}):
        with pytest.raises(ConfigError, match=r"set features\.layer to -1 and features\.centered to False"):
            replace(SETTINGS, **change)
    with pytest.raises(ConfigError, match="block 3 of a decoder of 2 blocks"):
        list(load(run, settings=replace(SETTINGS, decoder_block=3)).stream_queries_and_keys(moving_square(1)))


def test_each_kind_of_positions_works_at_another_grid(run: Path) -> None:
    wide = replace(SETTINGS, size=InputSize(fixed=(48, 96)))
    kinds = ("interpolated", "interpolated_offset", "recomputed")
    found = [
        next(load(run, settings=replace(wide, positions=kind)).stream_queries_and_keys(moving_square(1)))
        for kind in kinds
    ]
    assert {tuple(pair.queries.shape) for pair in found} == {(3, 6, 32)}
    assert not torch.allclose(found[0].queries, found[2].queries)
