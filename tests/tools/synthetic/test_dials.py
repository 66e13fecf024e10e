"""Sets that differ by one factor: what differs, and what is the same."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinema.draws import seed_of
from kinema.errors import ConfigError
from kinema.layouts import DavisLayout
from kinema.tools.synthetic import write
from kinema.tools.synthetic.render import build_scene, render_clip
from kinema.tools.synthetic.scene import SceneConfig
from kinema.tools.synthetic.write import EASY, FACTORS, DialSets, difficulty_of, write_set

SMALL = SceneConfig(height=64, width=96, num_frames=6)
SEED = 3


def sets(folder: Path) -> DialSets:
    return DialSets(folder=folder, clips=2, num_frames=3, height=48, width=64)


@pytest.mark.parametrize("factor", FACTORS)
def test_a_factor_turns_its_own_dials_up_and_no_other(factor: str) -> None:
    easy, hard = asdict(difficulty_of(EASY)), asdict(difficulty_of(factor))
    turned = {name for name, value in hard.items() if value != easy[name]}
    assert turned == ({"camera", "rotation", "scaling"} if factor == "viewpoint" else {factor})
    assert all(hard[name] > easy[name] for name in turned)


@pytest.mark.parametrize("factor", [name for name in FACTORS if name != "viewpoint"])
def test_objects_look_and_begin_as_in_the_easy_set(factor: str) -> None:
    easy, hard = (build_scene(replace(SMALL, difficulty=difficulty_of(name)), SEED) for name in (EASY, factor))
    assert easy.painting_order == hard.painting_order
    np.testing.assert_array_equal(easy.background, hard.background)
    for one, other in zip(easy.actors, hard.actors, strict=True):
        np.testing.assert_array_equal(one.centers[0], other.centers[0])
        for part, same in zip(one.body.parts, other.body.parts, strict=True):
            np.testing.assert_array_equal(part.texture, same.texture)


def test_objects_meet_where_occlusion_is_turned_up_and_only_there() -> None:
    """A clip of the length that studies ask for: how much of an object's largest area shows at its smallest."""
    smallest = {}
    for name in (EASY, "occlusion"):
        masks = render_clip(replace(SMALL, num_frames=30, difficulty=difficulty_of(name)), seed_of(0, 1, "clip")).masks
        areas = np.stack([(masks == value).sum(axis=(1, 2)) for value in range(1, 5)])
        smallest[name] = (areas.min(axis=1) / areas.max(axis=1)).min()
    assert smallest[EASY] > 0.8
    assert smallest["occlusion"] < 0.5


@pytest.mark.parametrize("factor", ["blur", "noise", "compression"])
def test_what_the_camera_does_changes_frames_and_no_mask(factor: str) -> None:
    easy, hard = (render_clip(replace(SMALL, difficulty=difficulty_of(name)), SEED) for name in (EASY, factor))
    np.testing.assert_array_equal(easy.masks, hard.masks)
    assert np.abs(easy.frames.astype(int) - hard.frames).mean() > 3


def test_a_set_is_rendered_once_and_all_of_it_is_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, told = sets(tmp_path), []
    assert not wanted.is_rendered("blur")
    wanted.render("blur", on_clip=lambda *step: told.append(step))
    assert told == [(1, 2), (2, 2)]
    assert DavisLayout(wanted.root("blur")).sequences("val") == ["clip-0000", "clip-0001"]
    monkeypatch.setattr(write, "write_set", lambda *_, **__: pytest.fail("rendered again"))
    wanted.render("blur")
    assert [path.name for path in tmp_path.iterdir()] == ["blur"]


def test_two_processes_may_render_the_same_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(out: Path, **asked: Any) -> None:
        write_set(out, **asked)  # the other one
        write_set(out, **asked)

    monkeypatch.setattr(write, "write_set", late)
    sets(tmp_path).render(EASY)
    assert sets(tmp_path).is_rendered(EASY)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot write the set"):
        sets(tmp_path / "file").render(EASY)


def test_another_set_in_its_place_is_refused(tmp_path: Path) -> None:
    sets(tmp_path).render(EASY)
    longer = replace(sets(tmp_path), num_frames=4)
    with pytest.raises(ConfigError, match=r"config.num_frames 3, not 4 \(.*easy\)"):
        longer.is_rendered(EASY)
    with pytest.raises(ConfigError, match="another synthetic set"):
        longer.render(EASY)


def test_clips_too_short_to_score_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="2 frames a clip"):
        replace(sets(tmp_path), num_frames=2)
    with pytest.raises(ConfigError, match="clips is 0"):
        replace(sets(tmp_path), clips=0)
