"""Which sample comes when, with and without a stated share of images."""

from collections import Counter

import pytest

from kinema.datasets.data_config import DataConfig
from kinema.datasets.order import Order
from kinema.datasets.scan import MediaItem
from kinema.errors import ConfigError

ITEMS = [MediaItem(path=f"{number}", kind="image" if number in (1, 3, 4) else "video") for number in range(8)]


def images_among(order: Order, positions: range) -> int:
    return sum(ITEMS[order.key_at(position)[1]].kind == "image" for position in positions)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 1 / 3, 0.5, 0.84, 1.0])
def test_every_batch_has_the_stated_share_of_images(share):
    items = [item for item in ITEMS if share not in (0.0, 1.0) or (item.kind == "image") == (share == 1.0)]
    order = Order(items, image_share=share, seed=0)
    counts = [
        sum(items[order.key_at(k)[1]].kind == "image" for k in range(start, start + 60)) for start in range(0, 600, 60)
    ]
    assert all(abs(count - 60 * share) < 1 for count in counts)
    assert sum(counts) == pytest.approx(600 * share, abs=1)


def test_images_and_videos_have_epochs_of_their_own():
    order = Order(ITEMS, image_share=0.25, seed=0)
    keys = [order.key_at(position) for position in range(80)]
    images = [key for key in keys if ITEMS[key[1]].kind == "image"]
    videos = [key for key in keys if ITEMS[key[1]].kind == "video"]
    assert len(set(keys)) == len(keys)  # no draw is made twice
    assert Counter(epoch for epoch, _ in images)[0] == 3
    assert Counter(epoch for epoch, _ in videos)[0] == 5
    assert [index for epoch, index in videos if epoch == 0] != [index for epoch, index in videos if epoch == 1]
    assert sorted(index for epoch, index in videos if epoch == 3) == [0, 2, 5, 6, 7]


def test_the_order_is_a_function_of_seed_and_position():
    order, again, other = (Order(ITEMS, image_share=0.4, seed=seed) for seed in (0, 0, 1))
    late = [again.key_at(position) for position in reversed(range(40))][::-1]
    assert late == [order.key_at(position) for position in range(40)]
    assert late != [other.key_at(position) for position in range(40)]


def test_without_a_share_every_file_counts_alike():
    order = Order(ITEMS, image_share=None, seed=0)
    assert sorted(order.key_at(position) for position in range(16)) == [(e, k) for e in range(2) for k in range(8)]
    assert images_among(order, range(8)) == 3


@pytest.mark.parametrize(("kind", "missing"), [("image", "videos"), ("video", "images")])
def test_a_share_of_what_is_not_there_is_refused(kind, missing):
    only = [item for item in ITEMS if item.kind == kind]
    with pytest.raises(ConfigError, match=f"no {missing} among {len(only)} files.*--data.image-share None"):
        Order(only, image_share=0.5, seed=0)
    Order(only, image_share=None, seed=0)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_shares_outside_0_and_1_are_refused(share):
    with pytest.raises(ConfigError, match="share of images"):
        DataConfig(images=True, image_share=share)
    with pytest.raises(ConfigError, match=r"--data\.images True"):
        DataConfig(image_share=0.5)
