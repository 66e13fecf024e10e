"""A synthetic set in the layouts of all four benchmarks, and what is run on it."""

from pathlib import Path

import pytest

from kinema.tools.synthetic.scene import Difficulty, SceneConfig
from kinema.tools.synthetic.write import write_set

ROOTS = {"davis": "davis", "ytvos": "youtube_vos", "vip": "vip", "jhmdb": "jhmdb"}
"""Where `kinema synth` puts each."""


@pytest.fixture(scope="session")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight clips of eleven frames, two of them held out; one object of three comes in late. Nobody writes to it."""
    folder = tmp_path_factory.mktemp("sets") / "sets"
    scene = SceneConfig(height=48, width=80, num_frames=11, difficulty=Difficulty(num_objects=3, late_share=0.4))
    write_set(folder, clips=8, seed=0, config=scene)
    return folder
