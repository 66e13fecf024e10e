"""Masks reach the token grid and come back as Pillow, OpenCV and the published scripts do it."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from kinema.draws import generator
from kinema.errors import KinemaError
from kinema.propagation.labels import decode_mask, encode_mask

IDS = (2, 7, 200)


def make_blobs(seed: int, height: int = 61, width: int = 83) -> np.ndarray:
    """A mask of blocks with ids 0, 2, 7, 200 and a void value 255."""
    draw = generator(seed, 0, 0, "blobs")
    coarse = draw.choice(np.array([0, 0, *IDS, 255], dtype=np.uint8), size=(height // 8 + 1, width // 8 + 1))
    return np.kron(coarse, np.ones((8, 8), dtype=np.uint8))[:height, :width]


def test_nearest_takes_the_pixel_under_the_center_of_the_token() -> None:
    mask = make_blobs(0)
    soft = encode_mask(mask, IDS, (9, 11), mode="nearest", keep_small=False)
    for y in range(9):
        for x in range(11):
            value = mask[int((y + 0.5) * 61 / 9), int((x + 0.5) * 83 / 11)]
            expected = torch.zeros(4)
            expected[IDS.index(value) + 1 if value in IDS else 0] = 1
            assert torch.equal(soft[y, x], expected)


def test_bilinear_equals_opencv_on_each_indicator() -> None:
    mask = make_blobs(1)
    soft = encode_mask(mask, IDS, (9, 11), mode="bilinear", keep_small=False).numpy()
    for channel, object_id in enumerate(IDS, start=1):
        indicator = (mask == object_id).astype(np.float32)
        expected = cv2.resize(indicator, (11, 9), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_allclose(soft[..., channel], expected, atol=1e-5)
    np.testing.assert_allclose(soft.sum(axis=-1), 1, atol=1e-6)


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_a_small_object_gets_the_token_it_overlaps_most_if_keep_small_is_set(mode: str) -> None:
    mask = np.zeros((64, 64), dtype=np.uint8)
    mask[16:48, 16:48] = 2
    mask[30:32, 29:34] = 7  # 3 pixels left of column 32, 2 right of it; the token's center is not among them
    kept = encode_mask(mask, IDS, (4, 4), mode=mode, keep_small=True)
    lost = encode_mask(mask, IDS, (4, 4), mode=mode, keep_small=False)
    assert lost[..., 2].max() == 0
    assert kept[..., 2].nonzero().tolist() == [[1, 1]]
    assert kept[1, 1].tolist() == [0, 0, 1, 0]
    kept[1, 1] = lost[1, 1]
    assert torch.equal(kept, lost)


def test_objects_share_a_token_that_is_the_last_one_of_another_object() -> None:
    mask = np.zeros((20, 20), dtype=np.uint8)
    mask[4:7, 4:7] = 2  # under the center of token (0, 0)
    mask[0, 0] = 7
    mask[0, 9] = 200
    soft = encode_mask(mask, IDS, (2, 2), mode="nearest", keep_small=True)
    torch.testing.assert_close(soft[0, 0], torch.tensor([0, 1 / 3, 1 / 3, 1 / 3]))
    assert soft[1:, :, 0].min() == 1


def test_an_object_absent_from_the_mask_has_an_empty_channel() -> None:
    soft = encode_mask(np.full((16, 16), 7, dtype=np.uint8), IDS, (2, 2), mode="nearest", keep_small=True)
    assert soft.sum(dim=(0, 1)).tolist() == [0, 0, 4, 0]


def test_upsampling_matches_dino() -> None:
    """Bilinear to the input size, every channel stretched to [0, 1], arg-max, Pillow's nearest to the frame's size."""
    draw = generator(3, 0, 0, "soft")
    soft = draw.random((6, 8, 4)).astype(np.float32)
    soft[..., 3] *= 0.05  # would win nowhere without stretching
    channels = [cv2.resize(soft[..., c], (128, 96), interpolation=cv2.INTER_LINEAR) for c in range(4)]
    stretched = np.stack([(c - c.min()) / (c.max() - c.min()) for c in channels])
    small = np.array([0, *IDS], dtype=np.uint8)[stretched.argmax(axis=0)]
    expected = np.array(Image.fromarray(small).resize((131, 97), Image.Resampling.NEAREST))
    ours = decode_mask(torch.from_numpy(soft), IDS, (97, 131), via=(96, 128), min_max=True)
    assert (ours == 200).any()
    assert (ours == expected).mean() > 0.9999


def test_upsampling_matches_crw() -> None:
    """Bilinear to the input size, arg-max, OpenCV's nearest to the frame's size."""
    soft = generator(4, 0, 0, "soft").random((6, 8, 4)).astype(np.float32)
    channels = [cv2.resize(soft[..., c], (128, 96), interpolation=cv2.INTER_LINEAR) for c in range(4)]
    small = np.array([0, *IDS], dtype=np.uint8)[np.argmax(channels, axis=0)]
    expected = cv2.resize(small, (203, 150), interpolation=cv2.INTER_NEAREST)
    ours = decode_mask(torch.from_numpy(soft), IDS, (150, 203), via=(96, 128), min_max=False, to_native="corner")
    assert (ours == expected).mean() > 0.9999


def test_nearest_upsampling_repeats_tokens() -> None:
    soft = torch.eye(4)[torch.tensor([[0, 1], [2, 3]])]
    ours = decode_mask(soft, IDS, (4, 4), via=(4, 4), min_max=False, upsample="nearest")
    assert ours.tolist() == [[0, 0, 2, 2], [0, 0, 2, 2], [7, 7, 200, 200], [7, 7, 200, 200]]


def test_stretching_never_makes_a_constant_channel_win() -> None:
    soft = torch.tensor([[[0.4, 0.6], [0.4, 0.6]]])
    assert decode_mask(soft, (9,), (1, 2), via=(1, 2), min_max=True).tolist() == [[0, 0]]
    assert decode_mask(soft, (9,), (1, 2), via=(1, 2), min_max=False).tolist() == [[9, 9]]


@pytest.mark.parametrize("ids", [(0, 1), (3, 3), (256,), (-1,)])
def test_rejects_ids_that_no_mask_can_contain(ids: tuple[int, ...]) -> None:
    with pytest.raises(KinemaError, match="distinct numbers from 1 to 255"):
        encode_mask(make_blobs(5), ids, (4, 4), mode="nearest", keep_small=False)


def test_rejects_channels_without_ids() -> None:
    with pytest.raises(KinemaError, match="4 label channels for 2 objects"):
        decode_mask(torch.rand(3, 3, 4), (1, 2), (9, 9), via=(9, 9), min_max=False)
