"""Draws depend on what they are for, and on nothing else."""

from kinema.draws import generator, seed_of


def test_a_draw_is_the_same_everywhere_and_differs_by_every_part():
    assert seed_of(0, 1, 2, "crop") == 1290556293105731339
    seeds = {seed_of(0, 1, 2, "crop"), seed_of(1, 1, 2, "crop"), seed_of(0, 1, 2, "flip"), seed_of(0, 12, "crop")}
    assert len(seeds) == 4
    assert seed_of("1") != seed_of(1)
    assert all(0 <= seed_of(k) < 2**63 for k in range(100))


def test_generators_start_afresh():
    assert generator(3, "x").integers(1 << 30) == generator(3, "x").integers(1 << 30)
    assert generator(3, "x").integers(1 << 30) != generator(4, "x").integers(1 << 30)
