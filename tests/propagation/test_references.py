"""Labels on later frames: references, corrections, objects with their own context, and the similarity of labels."""

import numpy as np
import pytest
import torch
from torch import Tensor

from kinema.errors import KinemaError
from kinema.propagation.propagator import Propagator
from tests.propagation.drifting_clips import make_clip, make_config, propagate_clip
from tests.reference.propagation import inside_window, run_own_context_propagation, vote


def test_start_clears_the_previous_clip() -> None:
    features, labels = make_clip(4, frames=4, h=5, w=5)
    other, other_labels = make_clip(5, frames=3, h=6, w=4, channels=5)
    propagator = Propagator(make_config())
    propagator.start(other[0], other_labels)
    propagator.step(other[1])
    propagator.start(features[0], labels)
    again = torch.stack([propagator.step(frame) for frame in features[1:]])
    assert torch.equal(again, propagate_clip(features, labels, make_config()))


@pytest.mark.parametrize("covers", [True, False])
def test_a_late_reference_stays_in_the_context(covers: bool) -> None:
    config = make_config(context=1, window_covers_first=covers)
    features, labels = make_clip(6, frames=6, h=5, w=7, channels=2)
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

    # Frame 5 is compared with the references 0 and 2 and the recent frame 4.
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


def make_late_objects() -> tuple[Tensor, dict[int, Tensor]]:
    """Features of eight frames, and labels of objects 1 and 2 on frame 0, 4 on frame 2, and 3 and 5 on frame 4."""
    features, _ = make_clip(14, frames=8, h=6, w=8)
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
def test_late_objects_open_their_own_contexts(precision: str) -> None:
    features, given = make_late_objects()
    config = make_config(late_objects="own_context", precision=precision)
    propagator = Propagator(config)
    propagator.start(features[0], given[0])
    ours = [
        propagator.add_reference(frame, given[number]) if number in given else propagator.step(frame)
        for number, frame in enumerate(features[1:], start=1)
    ]
    expected = run_own_context_propagation(
        features.numpy(),
        {number: labels.numpy() for number, labels in given.items()},
        context=config.context,
        radius=config.radius,
        top_k=config.top_k,
        temperature=config.temperature,
    )
    torch.testing.assert_close(torch.stack(ours), torch.from_numpy(expected).float(), rtol=0, atol=1e-5)


def test_a_correction_joins_the_context_of_its_object() -> None:
    features, given = make_late_objects()
    propagator = Propagator(make_config(late_objects="own_context", context=1, radius=20, top_k=1))
    propagator.start(features[0], given[0])
    propagator.add_reference(features[1], given[2])
    correction = torch.zeros(6, 8, 6)
    correction[0, 0, 4] = 1
    propagator.add_reference(features[2], correction)
    propagator.step(features[3])
    # Frame 2 is no longer recent. The next frame repeats its features, so the correction is the best match.
    propagator.step(features[4])
    again = propagator.step(features[2])
    assert again[0, 0, 4] == 1
    assert again[..., 4].sum() == 1


def test_last_similarity_is_that_of_the_chosen_candidate() -> None:
    features, labels = make_clip(15, frames=2, h=5, w=6)
    propagator = Propagator(make_config(radius=1, top_k=1))
    propagator.start(features[0], labels)
    with pytest.raises(KinemaError, match="no frame was compared"):
        propagator.last_similarity  # noqa: B018
    propagator.step(features[1])
    past, present = torch.nn.functional.normalize(features, dim=-1)
    for y, x in ((0, 0), (2, 3), (4, 5)):
        near = past[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
        assert float(propagator.last_similarity[y, x]) == pytest.approx(float((near @ present[y, x]).max()), abs=1e-6)


def test_last_similarity_is_weighted_like_the_labels() -> None:
    features = torch.tensor([[[[1.0, 0.0]]], [[[0.0, 1.0]]], [[[3.0, 4.0]]]])
    propagator = Propagator(make_config(temperature=0.5))
    propagator.start(features[0], torch.ones(1, 1, 1))
    propagator.step(features[1])
    propagator.step(features[2])
    weights = torch.tensor([0.6, 0.8]).div(0.5).softmax(dim=0)
    expected = 0.6 * weights[0] + 0.8 * weights[1]
    torch.testing.assert_close(propagator.last_similarity, expected.view(1, 1))


def test_a_correction_changes_only_its_object() -> None:
    features, labels = make_clip(7, frames=2, h=4, w=4, channels=3)
    predicted = propagate_clip(features, labels, make_config())[0]
    correction = torch.zeros(4, 4, 3)
    correction[0, 0, 1] = 1
    propagator = Propagator(make_config())
    propagator.start(features[0], labels)
    merged = propagator.add_reference(features[1], correction)
    assert torch.equal(merged[0, 0], torch.tensor([0.0, 1.0, 0.0]))
    torch.testing.assert_close(merged[1:, :, 2], predicted[1:, :, 2])
    torch.testing.assert_close(merged[1:, :, 0], predicted[1:, :, 0] + predicted[1:, :, 1])


def test_an_object_can_be_marked_as_absent() -> None:
    features, labels = make_clip(8, frames=2, h=4, w=4, channels=3)
    propagator = Propagator(make_config())
    propagator.start(features[0], labels)
    merged = propagator.add_reference(features[1], torch.zeros(4, 4, 3), channels=[2])
    assert merged[..., 2].count_nonzero() == 0
    assert merged[..., 1].count_nonzero() > 0


def test_a_reference_is_a_recent_frame_only_if_padding_counts_the_first() -> None:
    # Two identical frames, of which one is labeled late. With padding it counts twice and gets two of three votes.
    features = torch.ones(3, 1, 1, 2)
    first = torch.tensor([[[1.0, 0.0]]])
    late = torch.tensor([[[0.0, 1.0]]])
    shares = {}
    for padding in ("none", "first_frame"):
        propagator = Propagator(make_config(context=1, padding=padding, top_k=9))
        propagator.start(features[0], first)
        propagator.add_reference(features[1], late)
        shares[padding] = float(propagator.step(features[2])[0, 0, 1])
    assert shares["none"] == pytest.approx(1 / 2)
    assert shares["first_frame"] == pytest.approx(2 / 3)


def test_rejects_a_step_before_the_start() -> None:
    with pytest.raises(KinemaError, match="no first frame"):
        Propagator(make_config()).step(torch.rand(3, 3, 2))


def test_rejects_features_of_another_grid() -> None:
    propagator = Propagator(make_config())
    propagator.start(torch.rand(3, 3, 2), torch.rand(3, 3, 2))
    with pytest.raises(KinemaError, match=r"\(4, 3, 2\) after \(3, 3, 2\)"):
        propagator.step(torch.rand(4, 3, 2))


@pytest.mark.parametrize("channels", [[0], [3]])
def test_rejects_channels_that_are_not_objects(channels: list[int]) -> None:
    propagator = Propagator(make_config())
    propagator.start(torch.rand(3, 3, 2), torch.rand(3, 3, 2))
    with pytest.raises(KinemaError, match="not objects"):
        propagator.add_reference(torch.rand(3, 3, 2), torch.rand(3, 3, 3), channels=channels)
