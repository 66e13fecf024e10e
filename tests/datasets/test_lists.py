import pytest

from kinema.datasets.lists import NamesInTree

NAMES = NamesInTree(
    ["videos/run/a.avi", "videos/run/b c.avi", "videos/jump/d.avi", "other/jump/d.avi"], root="/data/set"
)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("run/a.avi 1", ("run/a.avi", "videos/run/a.avi", False)),  # as UCF101 counts paths
        ("../videos/run/a.avi", ("../videos/run/a.avi", "videos/run/a.avi", True)),
        ("/data/set/videos/run/a.avi,3", ("/data/set/videos/run/a.avi", "videos/run/a.avi", True)),
        ("videos/jump/d.avi 3", ("videos/jump/d.avi", "videos/jump/d.avi", False)),
        ("run/b c.avi", ("run/b c.avi", "videos/run/b c.avi", False)),
        ('7,"run/b c.avi",x', ("run/b c.avi", "videos/run/b c.avi", False)),
        ("1 a.avi", ("a.avi", "videos/run/a.avi", False)),
        ("jump/d.avi", None),  # there are two
        ("# run/a.avi", None),
        ("1 BabyCrawling", None),
        ("/elsewhere/videos/run/a.avi", None),
        ("", None),
    ],
)
def test_what_a_line_names(line: str, wanted: tuple | None) -> None:
    found = NAMES.find(line, folder="/data/set/splits")
    assert (tuple(found) if found else None) == wanted
