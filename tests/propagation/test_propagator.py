import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from kinema.errors import KinemaError
from kinema.propagation.propagation_config import Precision, PropagationConfig
from kinema.propagation.propagator import Propagator, propagate
from kinema.protocols.registry import get_protocol
from tests.realdata import real_data
from tests.reference.propagation import dense_propagation, inside_window, own_context_propagation, vote

SETTINGS = (
    "a_default",
    "a_small_window",
    "a_short_queue_topk1",
    "a_wide",
    "b_crw",
    "b_cropmae",
    "b_small_disc",
    "b_short",
)


def config_of(setting: dict, precision: Precision) -> PropagationConfig:
    dino = setting["lineage"] == "A"
    return PropagationConfig(
        context=setting["queue" if dino else "context"],
        padding="none" if dino else "first_frame",
        window="square" if dino else "disc",
        radius=setting["window_radius"],
        window_covers_first=dino,
        top_k=setting["topk"],
        temperature=setting["temperature"],
        normalization="exp_divide" if dino else "softmax",
        precision=precision,
    )


def clip(seed: int, *, frames: int, h: int, w: int, width: int = 6, channels: int = 3) -> tuple[Tensor, Tensor]:
    """Features that drift from frame to frame, and soft first labels."""
    generator = torch.Generator().manual_seed(seed)
    steps = torch.randn(frames, h, w, width, generator=generator)
    steps[1:] *= 0.3
    labels = torch.rand(h, w, channels, generator=generator).softmax(dim=-1)
    return steps.cumsum(dim=0), labels


def by_reference(features: Tensor, labels: Tensor, config: PropagationConfig, keys: np.ndarray | None = None) -> Tensor:
    expected = dense_propagation(
        features.numpy(),
        labels.numpy(),
        context=config.context,
        padded=config.padding == "first_frame",
        counted=config.padding == "counted",
        window=config.window,
        radius=config.radius,
        window_covers_first=config.window_covers_first,
        top_k=config.top_k,
        temperature=config.temperature,
        keep_ties=config.normalization == "exp_divide",
        keys=keys,
    )
    return torch.from_numpy(expected).float()


def carried(features: Tensor, labels: Tensor, config: PropagationConfig) -> Tensor:
    return torch.stack(list(propagate(features, labels, config)))[1:]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", SETTINGS)
def test_equals_the_published_code(name: str, precision: Precision) -> None:
    root = real_data("propagation_reference")
    config = config_of(json.loads((root / "settings.json").read_text())[name], precision)
    given = np.load(root / "input.npz")
    with np.load(root / f"{name}.npz") as archive:
        (expected,) = (archive[key] for key in archive.files)
    ours = carried(torch.from_numpy(given["features"]), torch.from_numpy(given["first_labels"]), config)
    torch.testing.assert_close(ours, torch.from_numpy(expected), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "protocol"), [("a_default", "dino_480p"), ("b_crw", "crw"), ("b_cropmae", "cropmae_480x880")]
)
def test_the_shipped_protocol_equals_the_published_code(name: str, protocol: str) -> None:
    root = real_data("propagation_reference")
    given = np.load(root / "input.npz")
    with np.load(root / f"{name}.npz") as archive:
        (expected,) = (archive[key] for key in archive.files)
    config = get_protocol(protocol).propagation
    ours = carried(torch.from_numpy(given["features"]), torch.from_numpy(given["first_labels"]), config)
    torch.testing.assert_close(ours, torch.from_numpy(expected), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["dino_480p", "rsp", "ino_davis", "dinov3_s", "kinema_1"])
@pytest.mark.parametrize("repeats", [2, 3, 6])
def test_repeated_frames_keep_all_ties_as_dino_s_code_does(name: str, repeats: int) -> None:
    config = get_protocol(name).propagation
    features, labels = clip(3, frames=2, h=5, w=6)
    still = features.repeat_interleave(repeats, dim=0)
    expected = by_reference(still, labels, config)
    torch.testing.assert_close(carried(still, labels, config), expected, rtol=0, atol=1e-5)
    cut = by_reference(still, labels, replace(config, normalization="softmax"))
    assert (expected - cut).abs().max() > 1e-3  # the choice matters here, so that the test can fail


@pytest.mark.parametrize("covers", [True, False])
@pytest.mark.parametrize("padding", ["none", "counted", "first_frame"])
@pytest.mark.parametrize(
    ("h", "w", "window", "radius", "context", "top_k", "tile"),
    [
        (7, 11, "square", 2, 3, 5, 4),  # grid no multiple of the tile
        (9, 5, "disc", 2.5, 2, 4, 3),
        (5, 6, "square", 1.9, 2, 40, 8),  # more places than candidates
        (4, 7, "disc", 50, 3, 6, 2),  # window larger than the grid
        (3, 3, "disc", 1, 0, 3, 1),  # itself alone, in the first frame alone
        (1, 8, "square", 30, 6, 2, 8),
        (9, 8, "disc", 5, 1, 60, 4),  # (3, 4) lies exactly at the radius: outside
        (9, 8, "disc_inclusive", 5, 1, 60, 4),  # inside
        (6, 9, "disc_inclusive", 2.5, 2, 4, 5),
    ],
)
def test_equals_the_dense_procedure(h, w, window, radius, context, top_k, tile, padding, covers) -> None:
    config = PropagationConfig(
        context=context,
        padding=padding,
        window=window,
        radius=radius,
        window_covers_first=covers,
        top_k=top_k,
        temperature=0.1,
        tile=tile,
    )
    features, labels = clip(h * w, frames=6, h=h, w=w)
    ours = carried(features, labels, config)
    torch.testing.assert_close(ours, by_reference(features, labels, config), rtol=0, atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("covers", [True, False])
@pytest.mark.parametrize("padding", ["none", "first_frame"])
@pytest.mark.parametrize("top_k", [1, 4, 11])
def test_exp_divide_keeps_all_that_equal_the_kth(top_k: int, padding: str, covers: bool, precision: str) -> None:
    config = dino(
        top_k=top_k,
        padding=padding,
        window_covers_first=covers,
        normalization="exp_divide",
        similarity="dot",
        temperature=1,
        precision=precision,
    )
    generator = torch.Generator().manual_seed(top_k)
    features = torch.randint(-1, 2, (5, 6, 7, 3), generator=generator).float()  # products are whole numbers: many ties
    labels = torch.rand(6, 7, 3, generator=generator).softmax(dim=-1)
    expected = by_reference(features, labels, config, keys=features.double().numpy())
    torch.testing.assert_close(carried(features, labels, config), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("top_k", [2, 7])
def test_still_video_keeps_the_ties_of_all_frames(top_k: int, precision: str) -> None:
    features, labels = clip(9, frames=1, h=7, w=9, width=50)
    still = features.expand(6, -1, -1, -1)
    config = dino(context=4, top_k=top_k, normalization="exp_divide", precision=precision)
    expected = by_reference(still, labels, config)
    torch.testing.assert_close(carried(still, labels, config), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_frames_are_found_by_their_keys(precision: str) -> None:
    config = dino(similarity="dot", precision=precision)
    features, labels = clip(10, frames=5, h=6, w=7)
    keys, _ = clip(11, frames=5, h=6, w=7)
    propagator = Propagator(config)
    propagator.start(features[0], labels, keys=keys[0])
    ours = [propagator.step(frame, keys=key) for frame, key in zip(features[1:], keys[1:], strict=True)]
    expected = by_reference(features, labels, config, keys=keys.double().numpy())
    torch.testing.assert_close(torch.stack(ours), expected, rtol=0, atol=1e-5)


def test_half_precision_is_near() -> None:
    features, labels = clip(13, frames=5, h=9, w=11, width=32)
    ours = carried(features, labels, dino(precision="half"))
    torch.testing.assert_close(ours, carried(features, labels, dino(precision="fp32")), rtol=0, atol=0.02)
    assert not torch.equal(ours, carried(features, labels, dino(precision="fp32")))


def dino(**changes) -> PropagationConfig:
    settings = {"context": 2, "window": "square", "radius": 2, "window_covers_first": True, "top_k": 4}
    return PropagationConfig(**{**settings, "temperature": 0.1, **changes})


def test_tile_changes_nothing() -> None:
    features, labels = clip(0, frames=4, h=10, w=13)
    torch.testing.assert_close(
        carried(features, labels, dino(tile=3)), carried(features, labels, dino(tile=64)), rtol=0, atol=1e-6
    )


def test_only_the_direction_of_features_counts() -> None:
    features, labels = clip(1, frames=3, h=6, w=6)
    scales = torch.rand(3, 6, 6, 1, generator=torch.Generator().manual_seed(2)) * 50 + 0.1
    torch.testing.assert_close(carried(features * scales, labels, dino()), carried(features, labels, dino()))


def test_streams_one_frame_at_a_time() -> None:
    features, labels = clip(3, frames=5, h=4, w=4)
    asked = []

    def stream() -> Iterator[Tensor]:
        for index, frame in enumerate(features):
            asked.append(index)
            yield frame

    results = propagate(stream(), labels, dino())
    assert torch.equal(next(results), labels)
    assert asked == [0]
    next(results)
    assert asked == [0, 1]


def test_start_forgets_the_clip_before() -> None:
    features, labels = clip(4, frames=4, h=5, w=5)
    other, other_labels = clip(5, frames=3, h=6, w=4, channels=5)
    propagator = Propagator(dino())
    propagator.start(other[0], other_labels)
    propagator.step(other[1])
    propagator.start(features[0], labels)
    again = torch.stack([propagator.step(frame) for frame in features[1:]])
    assert torch.equal(again, carried(features, labels, dino()))


@pytest.mark.parametrize("covers", [True, False])
def test_a_late_object_opens_a_reference_that_stays(covers: bool) -> None:
    config = dino(context=1, window_covers_first=covers)
    features, labels = clip(6, frames=6, h=5, w=7, channels=2)
    late = torch.zeros(5, 7, 3)
    late[1:3, 2:4, 2] = 1
    propagator = Propagator(config)
    propagator.start(features[0], labels)
    predicted = propagator.step(features[1])
    merged = propagator.add_reference(features[2], late)
    assert torch.equal(merged[..., 2], late[..., 2])
    assert torch.equal(merged[1:3, 2:4, :2], torch.zeros(2, 2, 2))
    torch.testing.assert_close(merged.sum(dim=-1), torch.ones(5, 7))
    last = [propagator.step(frame) for frame in features[3:]][-1]

    # frame 5 sees frames 0 and 2 for good, and frame 4
    known = [torch.nn.functional.pad(labels, (0, 1)), merged]
    check = Propagator(config)
    check.start(features[0], labels)
    assert torch.equal(check.step(features[1]), predicted)
    check.add_reference(features[2], late)
    fourth = [check.step(frame) for frame in features[3:5]][-1]
    unit = torch.nn.functional.normalize(features, dim=-1).double().numpy()
    for y, x in ((0, 0), (2, 3), (4, 6)):
        inside = inside_window(5, 7, y, x, "square", 2)
        everywhere = np.ones_like(inside)
        values, votes = [], []
        for frame, frame_labels in ((0, known[0]), (2, known[1]), (4, fourth)):
            chosen = everywhere if frame != 4 and not covers else inside
            values.append(unit[frame][chosen] @ unit[5, y, x])
            votes.append(frame_labels.numpy()[chosen])
        expected = vote(np.concatenate(values), np.concatenate(votes), 4, 0.1)
        np.testing.assert_allclose(last[y, x].numpy(), expected, atol=1e-5)


def shown_late() -> tuple[Tensor, dict[int, Tensor]]:
    """Features of eight frames, and labels: objects 1 and 2 on frame 0, 4 on frame 2, 3 and 5 on frame 4."""
    features, _ = clip(14, frames=8, h=6, w=8)
    given = {number: torch.zeros(6, 8, 6) for number in (0, 2, 4)}
    given[0][:, :3, 1] = 1
    given[0][:2, 3:, 2] = 0.75  # soft at the border, as bilinear labels are
    given[2][2:4, 4:6, 4] = 0.5
    given[4][4:, 5:, 3] = 1
    given[4][4:, 2:4, 5] = 1
    for labels in given.values():
        labels[..., 0] = 1 - labels.sum(dim=-1)
    return features, given


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_objects_that_appear_late_have_contexts_of_their_own(precision: str) -> None:
    features, given = shown_late()
    config = dino(late_objects="own_context", precision=precision)
    propagator = Propagator(config)
    propagator.start(features[0], given[0])
    ours = [
        propagator.add_reference(frame, given[number]) if number in given else propagator.step(frame)
        for number, frame in enumerate(features[1:], start=1)
    ]
    expected = own_context_propagation(
        features.numpy(),
        {number: labels.numpy() for number, labels in given.items()},
        context=config.context,
        radius=config.radius,
        top_k=config.top_k,
        temperature=config.temperature,
    )
    torch.testing.assert_close(torch.stack(ours), torch.from_numpy(expected).float(), rtol=0, atol=1e-5)


def test_a_correction_joins_the_context_of_its_object() -> None:
    features, given = shown_late()
    propagator = Propagator(dino(late_objects="own_context", context=1, radius=20, top_k=1))
    propagator.start(features[0], given[0])
    propagator.add_reference(features[1], given[2])
    correction = torch.zeros(6, 8, 6)
    correction[0, 0, 4] = 1
    propagator.add_reference(features[2], correction)
    propagator.step(features[3])
    # frame 2 has left the recent frames by now; frame 4 repeats its features, so the correction is its best match
    propagator.step(features[4])
    again = propagator.step(features[2])
    assert again[0, 0, 4] == 1
    assert again[..., 4].sum() == 1


def test_tells_how_much_a_token_resembles_what_it_took_its_label_from() -> None:
    features, labels = clip(15, frames=2, h=5, w=6)
    propagator = Propagator(dino(radius=1, top_k=1))
    propagator.start(features[0], labels)
    with pytest.raises(KinemaError, match="no frame was compared"):
        propagator.last_similarity  # noqa: B018
    propagator.step(features[1])
    past, present = torch.nn.functional.normalize(features, dim=-1)
    for y, x in ((0, 0), (2, 3), (4, 5)):
        near = past[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
        assert float(propagator.last_similarity[y, x]) == pytest.approx(float((near @ present[y, x]).max()), abs=1e-6)


def test_the_mean_similarity_is_weighted_like_the_labels() -> None:
    features = torch.tensor([[[[1.0, 0.0]]], [[[0.0, 1.0]]], [[[3.0, 4.0]]]])
    propagator = Propagator(dino(temperature=0.5))
    propagator.start(features[0], torch.ones(1, 1, 1))
    propagator.step(features[1])
    propagator.step(features[2])
    weights = torch.tensor([0.6, 0.8]).div(0.5).softmax(dim=0)
    expected = 0.6 * weights[0] + 0.8 * weights[1]
    torch.testing.assert_close(propagator.last_similarity, expected.view(1, 1))


def test_a_second_label_corrects_a_known_object_and_leaves_the_others() -> None:
    features, labels = clip(7, frames=2, h=4, w=4, channels=3)
    predicted = carried(features, labels, dino())[0]
    correction = torch.zeros(4, 4, 3)
    correction[0, 0, 1] = 1
    propagator = Propagator(dino())
    propagator.start(features[0], labels)
    merged = propagator.add_reference(features[1], correction)
    assert torch.equal(merged[0, 0], torch.tensor([0.0, 1.0, 0.0]))
    torch.testing.assert_close(merged[1:, :, 2], predicted[1:, :, 2])
    torch.testing.assert_close(merged[1:, :, 0], predicted[1:, :, 0] + predicted[1:, :, 1])


def test_an_object_can_be_said_to_be_absent() -> None:
    features, labels = clip(8, frames=2, h=4, w=4, channels=3)
    propagator = Propagator(dino())
    propagator.start(features[0], labels)
    merged = propagator.add_reference(features[1], torch.zeros(4, 4, 3), channels=[2])
    assert merged[..., 2].count_nonzero() == 0
    assert merged[..., 1].count_nonzero() > 0


def test_a_reference_is_among_the_recent_frames_only_where_the_first_is() -> None:
    # two identical frames, one labeled late: with padding it counts twice, so it outvotes
    features = torch.ones(3, 1, 1, 2)
    first = torch.tensor([[[1.0, 0.0]]])
    late = torch.tensor([[[0.0, 1.0]]])
    shares = {}
    for padding in ("none", "first_frame"):
        propagator = Propagator(dino(context=1, padding=padding, top_k=9))
        propagator.start(features[0], first)
        propagator.add_reference(features[1], late)
        shares[padding] = float(propagator.step(features[2])[0, 0, 1])
    assert shares["none"] == pytest.approx(1 / 2)
    assert shares["first_frame"] == pytest.approx(2 / 3)


def test_refuses_a_step_before_the_start() -> None:
    with pytest.raises(KinemaError, match="no first frame"):
        Propagator(dino()).step(torch.rand(3, 3, 2))


def test_refuses_features_of_another_grid() -> None:
    propagator = Propagator(dino())
    propagator.start(torch.rand(3, 3, 2), torch.rand(3, 3, 2))
    with pytest.raises(KinemaError, match=r"\(4, 3, 2\) after \(3, 3, 2\)"):
        propagator.step(torch.rand(4, 3, 2))


@pytest.mark.parametrize("channels", [[0], [3]])
def test_refuses_channels_that_are_no_objects(channels: list[int]) -> None:
    propagator = Propagator(dino())
    propagator.start(torch.rand(3, 3, 2), torch.rand(3, 3, 2))
    with pytest.raises(KinemaError, match="not objects"):
        propagator.add_reference(torch.rand(3, 3, 2), torch.rand(3, 3, 3), channels=channels)
