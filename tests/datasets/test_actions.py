"""Lists of labeled videos in every layout, and what is wrong with them by file and line."""

import json
from pathlib import Path

import pytest

from kinema.datasets.actions import LabeledSet, check_classes, read_labeled
from kinema.errors import ConfigError, DatasetError
from tests.realdata import real_data


def _write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def _seen(found: LabeledSet, root: Path) -> list[tuple[str, str]]:
    return [(str(file.path.relative_to(root)), found.class_names[file.label]) for file in found.files]


UCF101 = {
    "ucfTrainTestlist/classInd.txt": "1 Jump\n2 Run\n",
    "ucfTrainTestlist/trainlist02.txt": "Jump/a.avi 1\nRun/b.avi 2\n",
    "ucfTrainTestlist/testlist02.txt": "Run/c.avi\n",
    **{f"UCF-101/{name}": "" for name in ("Jump/a.avi", "Run/b.avi", "Run/c.avi")},
}


def test_ucf101_is_read_by_fold(tmp_path: Path):
    root = _write(tmp_path, UCF101)
    train = read_labeled("ucf101", root, "train", fold=2)
    assert _seen(train, root) == [("UCF-101/Jump/a.avi", "Jump"), ("UCF-101/Run/b.avi", "Run")]
    assert _seen(read_labeled("ucf101", root, "test", fold=2), root) == [("UCF-101/Run/c.avi", "Run")]
    with pytest.raises(DatasetError, match=r"trainlist01\.txt"):
        read_labeled("ucf101", root, "train", fold=1)
    with pytest.raises(ConfigError, match="no fold 4"):
        read_labeled("ucf101", root, "train", fold=4)
    with pytest.raises(ConfigError, match="no split 'val'"):
        read_labeled("ucf101", root, "val")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Walk/a.avi", r"no class 'Walk' \(.*testlist02.txt, line 2\)"),
        ("Jump/gone.avi", r"no file for Jump/gone.avi \(.*testlist02.txt, line 2\)"),
        ("Jump/a.avi 2", r"class Jump is not number 2 \(.*testlist02.txt, line 2\)"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, message: str):
    root = _write(tmp_path, {**UCF101, "ucfTrainTestlist/testlist02.txt": f"Run/c.avi\n{line}\n"})
    with pytest.raises(DatasetError, match=message):
        read_labeled("ucf101", root, "test", fold=2)


def test_hmdb51_takes_the_marks_of_its_split(tmp_path: Path):
    lists = {
        "testTrainMulti_7030_splits/wave_test_split1.txt": "a.avi 1 \nb.avi 2 \nc.avi 0 \n",
        "testTrainMulti_7030_splits/clap_test_split1.txt": "d.avi 1 \n",
    }
    root = _write(tmp_path, {**lists, **{f"{name}.avi": "" for name in ("wave/a", "wave/b", "wave/c", "clap/d")}})
    train = read_labeled("hmdb51", root, "train")
    assert _seen(train, root) == [("clap/d.avi", "clap"), ("wave/a.avi", "wave")]
    assert _seen(read_labeled("hmdb51", root, "test"), root) == [("wave/b.avi", "wave")]


def test_kinetics_finds_files_by_id_and_time(tmp_path: Path):
    table = "label,youtube_id,time_start,time_end,split\nair drumming,xyz_-1,7,17,val\nyoga,abc,10,20,val\n"
    root = _write(
        tmp_path, {"val.csv": table, "val/air drumming/xyz_-1_000007_000017.mp4": "", "val/abc_000010_000020.mkv": ""}
    )
    assert _seen(read_labeled("kinetics", root, "val"), root) == [
        ("val/air drumming/xyz_-1_000007_000017.mp4", "air drumming"),
        ("val/abc_000010_000020.mkv", "yoga"),
    ]
    (root / "val/abc_000010_000020.mkv").unlink()
    with pytest.raises(DatasetError, match=r"no file for abc_000010_000020 \(.*val.csv, line 3\)"):
        read_labeled("kinetics", root, "val")


def test_ssv2_strips_the_brackets_of_templates(tmp_path: Path):
    labels = {"Pushing something": "1", "Holding something": "0"}
    clips = [{"id": "74225", "template": "Pushing [something]", "label": "pushing a cup"}]
    files = {"labels.json": json.dumps(labels), "val.json": json.dumps(clips), "videos/74225.webm": ""}
    root = _write(tmp_path, files)
    found = read_labeled("ssv2", root, "val")
    assert found.class_names == ("Holding something", "Pushing something")
    assert _seen(found, root) == [("videos/74225.webm", "Pushing something")]
    _write(root, {"val.json": json.dumps([{"id": "1", "label": "x"}])})
    with pytest.raises(DatasetError, match="not SSv2"):
        read_labeled("ssv2", root, "val")


def test_class_folders(tmp_path: Path):
    root = _write(tmp_path, {"train/cat/1.png": "", "train/ant/x/2.mp4": "", "train/ant/notes.md": ""})
    assert _seen(read_labeled("folders", root, "train"), root) == [
        ("train/ant/x/2.mp4", "ant"),
        ("train/cat/1.png", "cat"),
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("train.csv", "label,path\nrun,a b.mp4\njump,c.mp4\n"),
        ("train.csv", "a b.mp4,run\nc.mp4,jump\n"),
        ("train.txt", "a b.mp4 run\n\nc.mp4 jump\n"),
    ],
)
def test_lists_with_and_without_a_header(tmp_path: Path, name: str, text: str):
    root = _write(tmp_path, {name: text, "a b.mp4": "", "c.mp4": ""})
    assert _seen(read_labeled("list", root, "train"), root) == [("a b.mp4", "run"), ("c.mp4", "jump")]


def test_numbered_labels_keep_their_numbers(tmp_path: Path):
    root = _write(tmp_path, {"train.csv": "a.mp4 10\nb.mp4 2\n", "a.mp4": "", "b.mp4": ""})
    found = read_labeled("list", root, "train")
    assert [file.label for file in found.files] == [10, 2]
    assert len(found.class_names) == 11


def test_a_list_line_without_label_is_named(tmp_path: Path):
    root = _write(tmp_path, {"train.csv": "a.mp4,run\nb.mp4\n", "a.mp4": "", "b.mp4": ""})
    with pytest.raises(DatasetError, match=r"'b.mp4' is not a path and a label \(.*line 2\)"):
        read_labeled("list", root, "train")


def test_what_is_not_there_is_said(tmp_path: Path):
    with pytest.raises(ConfigError, match="did you mean 'ucf101'"):
        read_labeled("ucf11", tmp_path, "train")
    with pytest.raises(DatasetError, match=r"not UCF101: no splits or ucfTrainTestlist"):
        read_labeled("ucf101", tmp_path, "train")
    _write(tmp_path, {"train.csv": "path,label\n"})
    with pytest.raises(DatasetError, match="no file in split train"):
        read_labeled("list", tmp_path, "train")


def test_classes_of_train_and_test_must_agree(tmp_path: Path):
    root = _write(tmp_path, {"train/a/1.png": "", "test/a/1.png": "", "test/b/2.png": "", "val/a/1.png": ""})
    train, test, val = (read_labeled("folders", root, split) for split in ("train", "test", "val"))
    check_classes(train, val)
    with pytest.raises(DatasetError, match=r"train has 1 classes and test 2 .*'b'"):
        check_classes(train, test)
    only_named = LabeledSet(("a", "b"), train.files)
    with pytest.raises(DatasetError, match=r"1 tested classes have no training clip .*b"):
        check_classes(only_named, test)


def test_the_real_split():
    root = real_data("ucf101")
    train, test = (read_labeled("ucf101", root, split) for split in ("train", "test"))
    check_classes(train, test)
    assert (len(train), len(test), len(train.class_names)) == (36, 18, 3)


def test_moments_in_time(tmp_path):
    (tmp_path / "moments_categories.txt").write_text("aiming,0\nbarking,1\n")
    for folder, listing, files in (
        ("training", "trainingSet.csv", ("barking/a-1.mp4", "aiming/b-2.mp4")),
        ("validation", "validationSet.csv", ("aiming/c.mp4",)),
    ):
        for name in files:
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / name).touch()
        (tmp_path / listing).write_text("".join(f"{name},{name.split('/')[0]},3,0\n" for name in files))
    train, val = (read_labeled("moments", tmp_path, split) for split in ("train", "val"))
    assert train.class_names == val.class_names == ("aiming", "barking")
    assert [(file.path.name, file.label) for file in train.files] == [("a-1.mp4", 1), ("b-2.mp4", 0)]
    assert [file.path for file in val.files] == [tmp_path / "validation/aiming/c.mp4"]
    with pytest.raises(ConfigError, match="train and val"):
        read_labeled("moments", tmp_path, "test")
    (tmp_path / "trainingSet.csv").write_text("aiming/gone.mp4,aiming,3,0\n")
    with pytest.raises(DatasetError, match=r"no file for aiming/gone.mp4.*trainingSet.csv, line 1"):
        read_labeled("moments", tmp_path, "train")
