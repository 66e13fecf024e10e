"""The bank stores keys and labels in bands of rows and reuses the slots of frames that left."""

import torch

from kinema.propagation.bank import BAND, FrameBank


def put_random_frame(bank: FrameBank, number: int, *, channels: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(number)
    keys, labels = torch.rand(6, 5, 3, generator=generator), torch.rand(6, 5, channels, generator=generator)
    bank.put(number, keys, labels)
    return keys, labels


def unband_slot(values: torch.Tensor, slot: int) -> torch.Tensor:
    """The values (bands, w, S, BAND, D) of one slot as a grid (bands*BAND, w, D)."""
    return values[:, :, slot].transpose(1, 2).flatten(0, 1)


def test_stores_keys_and_labels_in_bands_of_rows() -> None:
    bank = FrameBank(expected=2)
    frames = {number: put_random_frame(bank, number) for number in range(3)}
    assert bank.keys.shape == (2, 5, 3, BAND, 3)
    for number, (keys, labels) in frames.items():
        slot = bank.slots[number]
        assert torch.equal(unband_slot(bank.keys, slot)[:6], keys)
        assert torch.equal(unband_slot(bank.labels, slot)[:6], labels)
        assert unband_slot(bank.keys, slot)[6:].count_nonzero() == 0


def test_a_frame_takes_the_slot_of_one_that_left() -> None:
    bank = FrameBank(expected=2)
    for number in range(2):
        put_random_frame(bank, number)
    bank.keep({1})
    keys, _ = put_random_frame(bank, 2)
    assert bank.num_slots == 2
    assert sorted(bank.slots) == [1, 2]
    assert torch.equal(unband_slot(bank.keys, bank.slots[2])[:6], keys)


def test_grows_in_stages_to_the_expected_size_then_by_one() -> None:
    bank = FrameBank(expected=6)
    sizes = []
    for number in range(8):
        put_random_frame(bank, number)
        sizes.append(bank.num_slots)
    assert sizes == [1, 2, 6, 6, 6, 6, 7, 8]


def test_labels_widen_with_a_new_object() -> None:
    bank = FrameBank(expected=2)
    _, narrow = put_random_frame(bank, 0, channels=2)
    _, wide = put_random_frame(bank, 1, channels=4)
    assert torch.equal(unband_slot(bank.labels, 0)[:6, :, :2], narrow)
    assert unband_slot(bank.labels, 0)[..., 2:].count_nonzero() == 0
    assert torch.equal(unband_slot(bank.labels, 1)[:6], wide)


def test_bounds_the_rounding_of_its_keys_to_bf16() -> None:
    bank = FrameBank(expected=2, coarse=True)
    keys = torch.stack([put_random_frame(bank, number)[0] for number in range(2)])
    assert bank.coarse is not None
    coarse = torch.stack([unband_slot(bank.coarse, slot)[:6].float() for slot in range(2)])
    assert bank.largest_rounding >= float((keys - bank.center - coarse).norm(dim=-1).max()) - 1e-7
    assert bank.largest_norm >= float(coarse.norm(dim=-1).max()) - 1e-7
    assert bank.largest_rounding < 0.01
