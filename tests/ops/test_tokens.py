"""Patches and gathers against loops."""

import numpy as np
import pytest
import torch

from kinema.ops.pixels import standardize, standardize_patches
from kinema.ops.tokens import (
    masked_mean,
    normalize_patches,
    patchify,
    put_tokens,
    take_tokens,
    unpatchify,
    unpatchify_clip,
)


def test_patch_values_are_ordered_row_column_channel_in_raster_order():
    frames = torch.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6)
    patches = patchify(frames, 2)
    for sample in range(2):
        for token in range(6):
            top, left = 2 * (token // 3), 2 * (token % 3)
            expected = [
                frames[sample, channel, top + row, left + column].item()
                for row in range(2)
                for column in range(2)
                for channel in range(3)
            ]
            assert patches[sample, token].tolist() == expected


def test_unpatchify_inverts_and_refuses_what_does_not_fit():
    frames = torch.randn(2, 3, 8, 12)
    assert torch.equal(unpatchify(patchify(frames, 4), 4, height=8, width=12), frames)
    with pytest.raises(ValueError, match="do not make a 8x8 frame"):
        unpatchify(patchify(frames, 4), 4, height=8, width=8)
    with pytest.raises(ValueError, match="does not divide"):
        patchify(frames, 5)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("eps_inside", [False, True])
def test_normalized_patches_follow_the_formula(per_channel, eps_inside):
    patches = torch.randn(2, 3, 12, dtype=torch.float64) * torch.tensor([1.0, 1e-3, 0.0])[None, :, None]
    found = normalize_patches(patches, per_channel=per_channel, eps_inside=eps_inside)
    for sample, token in np.ndindex(2, 3):
        values = patches[sample, token].numpy().reshape(4, 3)
        groups = [values[:, channel] for channel in range(3)] if per_channel else [values.reshape(-1)]
        normed = []
        for group in groups:
            variance = group.var(ddof=1)
            scale = np.sqrt(variance + 1e-6) if eps_inside else np.sqrt(variance) + 1e-6
            normed.append((group - group.mean()) / scale)
        expected = np.stack(normed, axis=1).reshape(-1) if per_channel else normed[0]
        np.testing.assert_allclose(found[sample, token].numpy(), expected, atol=1e-12)


def test_take_and_put_by_index():
    tokens = torch.randn(2, 5, 3)
    ids = torch.tensor([[4, 0], [2, 3]])
    taken = take_tokens(tokens, ids)
    assert torch.equal(taken[0, 0], tokens[0, 4])
    assert torch.equal(taken[1, 1], tokens[1, 3])
    base = torch.zeros(2, 5, 3)
    placed = put_tokens(base, ids, taken)
    assert torch.equal(placed[0, 4], tokens[0, 4])
    assert not placed[0, 1].any()
    assert not base.any()


def test_masked_mean_is_over_the_targets_of_all_samples_together():
    values = torch.tensor([[1.0, 10.0, 3.0], [5.0, 7.0, 100.0]])
    assert masked_mean(values, torch.tensor([[0, 2], [0, 1]])).item() == 4.0


def test_tubelets_are_ordered_time_row_column_and_so_are_their_values():
    clips = torch.arange(2 * 4 * 3 * 4 * 6).reshape(2, 4, 3, 4, 6)
    tubelets = patchify(clips, 2, tubelet_size=2)
    for sample, token in np.ndindex(2, 12):
        first, top, left = 2 * (token // 6), 2 * (token % 6 // 3), 2 * (token % 3)
        expected = [
            clips[sample, first + time, channel, top + row, left + column].item()
            for time in range(2)
            for row in range(2)
            for column in range(2)
            for channel in range(3)
        ]
        assert tubelets[sample, token].tolist() == expected
    whole = {"num_frames": 4, "height": 4, "width": 6}
    assert torch.equal(unpatchify_clip(tubelets, 2, tubelet_size=2, **whole), clips)
    with pytest.raises(ValueError, match="4 frames do not divide into tubelets of 3"):
        patchify(clips, 2, tubelet_size=3)


def test_patches_are_standardized_as_frames_are():
    frames = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    assert torch.equal(standardize_patches(patchify(frames, 4)), patchify(standardize(frames), 4))
