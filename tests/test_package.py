"""`import kinema` is light, and its public names are there."""

import subprocess
import sys

import pytest

import kinema


def test_importing_takes_nothing_heavy() -> None:
    script = """
import sys
import kinema
assert set(kinema.__all__) <= set(dir(kinema))
assert kinema.KinemaError.__name__ and kinema.FeatureSettings.__name__
heavy = {"torch", "av", "cv2", "kornia", "scipy", "matplotlib", "tensorboard", "tyro", "rich"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("name", kinema.__all__)
def test_public_names(name: str) -> None:
    found = getattr(kinema, name)
    assert found.__doc__
    assert found.__module__.startswith("kinema.")


def test_other_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="'kinema' has no attribute 'utils'"):
        _ = kinema.utils  # pyright: ignore[reportAttributeAccessIssue]
