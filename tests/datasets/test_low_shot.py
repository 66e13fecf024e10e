"""Fewer labels: by a list, and by a share of each class."""

from collections import Counter
from pathlib import Path

import pytest

from kinema.datasets.actions import LabeledFile, LabeledSet
from kinema.datasets.low_shot import only_listed, share_of_each_class
from kinema.errors import ConfigError, DatasetError

SET = LabeledSet(
    class_names=("cat", "dog"),
    files=tuple(LabeledFile(Path(f"train/{name}/{k}{name}.png"), label) for label, name in enumerate(("cat", "dog"))
                for k in range(20)),
)  # fmt: skip


def test_a_list_names_files_by_name_or_with_their_folder(tmp_path):
    (tmp_path / "1percent.txt").write_text("3cat.png\ndog/7dog.png\n\n")
    kept = only_listed(SET, tmp_path / "1percent.txt")
    assert [file.path.name for file in kept.files] == ["3cat.png", "7dog.png"]
    assert kept.class_names == SET.class_names


@pytest.mark.parametrize("text", ["3cat.png\n3cow.png\n", "\n", None])
def test_lists_of_other_data_are_refused(tmp_path, text):
    if text is not None:
        (tmp_path / "list.txt").write_text(text)
    with pytest.raises(DatasetError, match=r"3cow\.png|empty|unreadable list"):
        only_listed(SET, tmp_path / "list.txt")


def test_a_share_is_of_every_class_and_the_same_again():
    tenth = share_of_each_class(SET, 0.1)
    assert Counter(file.label for file in tenth.files) == {0: 2, 1: 2}
    assert tenth == share_of_each_class(SET, 0.1) != share_of_each_class(SET, 0.1, seed=1)
    assert Counter(file.label for file in share_of_each_class(SET, 0.01).files) == {0: 1, 1: 1}
    assert set(tenth.files) < set(share_of_each_class(SET, 0.5).files)
    assert share_of_each_class(SET, 1.0) == SET


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5])
def test_shares_that_are_none_are_refused(share):
    with pytest.raises(ConfigError, match="--train-share"):
        share_of_each_class(SET, share)
