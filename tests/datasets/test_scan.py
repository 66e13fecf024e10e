import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from kinema.datasets import scan as scan_module
from kinema.datasets.manifest import FileRecord, write_manifest
from kinema.datasets.scan import MediaItem, scan
from kinema.errors import DatasetError
from tests.realdata import real_data


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """videos a, b/c (named in capitals), frames f; a lone picture, a text file, a hidden video, a link back up."""
    root = tmp_path / "tree"
    (root / "f").mkdir(parents=True)
    for index in range(3):
        Image.new("RGB", (8, 8)).save(root / "f" / f"{index}.png")
    (root / "b").mkdir()
    for name in ("a.mp4", "b/c.AVI", ".hidden.mp4", "notes.text"):
        (root / name).touch()
    Image.new("RGB", (8, 8)).save(root / "b" / "lone.png")
    (root / "b" / "up").symlink_to(root, target_is_directory=True)
    return root


def found(items: list[MediaItem], root: Path) -> list[tuple[str, str]]:
    return [(str(item.path.relative_to(root)), item.kind) for item in items]


def test_folders_are_searched_through(tree: Path) -> None:
    assert found(scan([tree]), tree) == [("a.mp4", "video"), ("b/c.AVI", "video"), ("f", "frames")]
    assert found(scan([tree / "f", tree / "a.mp4"]), tree) == [("a.mp4", "video"), ("f", "frames")]


def test_each_file_counts_once_however_it_is_named(tree: Path) -> None:
    (tree / "again.mp4").symlink_to(tree / "a.mp4")
    items = scan([tree, tree / "b" / ".." / "a.mp4", tree / "b"])
    assert len(items) == 3
    assert {os.path.realpath(item.path) for item in items} == {str(tree / n) for n in ("a.mp4", "b/c.AVI", "f")}


def test_lists(tree: Path) -> None:
    (tree / "b" / "list.txt").write_text("# comment\n\n../a.mp4 7\nc.AVI\n")
    assert found(scan([tree / "b" / "list.txt"]), tree / "b") == [("../a.mp4", "video"), ("c.AVI", "video")]
    (tree / "with space.mp4").touch()
    (tree / "list.csv").write_text('a.mp4,3\n"with space.mp4",4\nf,0\n', encoding="utf-8-sig")
    assert found(scan([tree / "list.csv"]), tree) == [
        ("a.mp4", "video"),
        ("f", "frames"),
        ("with space.mp4", "video"),
    ]
    (tree / "list.txt").write_text("a.mp4\ngone.mp4\n")
    with pytest.raises(DatasetError, match=r"no such file: gone\.mp4 \(.*list\.txt, line 2\)"):
        scan([tree / "list.txt"])
    for line in (",3", f"{'word' * 200} and more"):
        (tree / "list.csv").write_text(line)
        with pytest.raises(DatasetError, match=r"no such file: .*list\.csv, line 1"):
            scan([tree / "list.csv"])
    (tree / "list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match="not a text file"):
        scan([tree / "list.txt"])


def test_what_a_run_wrote_of_unreadable_files_can_be_excluded(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its paths are as the run was given them: relative to where it was started, not to the list."""
    monkeypatch.chdir(tree.parent)
    (tree / "run").mkdir()
    (tree / "run" / "skipped.jsonl").write_text(f'{{"path": "{tree.name}/a.mp4", "reason": "cut", "count": 1}}\n')
    left = scan([tree.name], exclude=[tree / "run" / "skipped.jsonl"])
    assert f"{tree.name}/a.mp4" not in [item.name for item in left]
    assert len(left) == len(scan([tree.name])) - 1


def test_exclusions(tree: Path) -> None:
    (tree / "out.txt").write_text("a.mp4\n")
    assert found(scan([tree], exclude=[tree / "out.txt", tree / "b"]), tree) == [("f", "frames")]
    assert found(scan([tree], exclude=[tree / "f"]), tree) == [("a.mp4", "video"), ("b/c.AVI", "video")]
    with pytest.raises(DatasetError, match="3 videos excluded"):
        scan([tree], exclude=[tree])
    with pytest.raises(DatasetError, match=r"no such file or folder .*gone"):
        scan([tree], exclude=[tree / "gone"])


def test_nothing_found_says_what_was_seen(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"no video found, saw nothing \(.*empty\)") as caught:
        scan([tmp_path / "empty"])
    assert caught.value.exit_code == 3
    (tmp_path / "empty" / "a.text").touch()
    Image.new("RGB", (8, 8)).save(tmp_path / "empty" / "one.png")
    with pytest.raises(DatasetError, match="saw 1 single image, 1 other file"):
        scan([tmp_path / "empty"])


def test_the_list_of_real_clips() -> None:
    items = scan([real_data("pretrain.txt")])
    assert len(items) == 81
    assert {item.kind for item in items} == {"video"}


def test_the_column_of_a_list_with_a_header(tree: Path) -> None:
    (tree / "list.csv").write_text("label,file_name\n1,a.mp4\n2,b/c.AVI\n")
    assert found(scan([tree / "list.csv"]), tree) == [("a.mp4", "video"), ("b/c.AVI", "video")]
    (tree / "list.csv").write_text("Video,label\na.mp4,1\n")
    assert found(scan([tree / "list.csv"]), tree) == [("a.mp4", "video")]
    (tree / "path").touch()  # then it is a file and no header
    (tree / "list.csv").write_text("path\na.mp4\n")
    assert found(scan([tree / "list.csv"]), tree) == [("a.mp4", "video"), ("path", "video")]
    (tree / "list.csv").write_text("label,path\n1\n")
    with pytest.raises(DatasetError, match=r"list\.csv, line 2"):
        scan([tree / "list.csv"])


def test_a_hugging_face_video_folder(tree: Path) -> None:
    rows = [{"file_name": "a.mp4", "label": 1}, {"file_name": "b/c.AVI", "label": 2}]
    (tree / "metadata.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert found(scan([tree / "metadata.jsonl"]), tree) == [("a.mp4", "video"), ("b/c.AVI", "video")]
    assert len(scan([tree])) == 3
    (tree / "metadata.csv").write_text("file_name,label\na.mp4,1\n")
    assert found(scan([tree / "metadata.csv"]), tree) == [("a.mp4", "video")]
    for line in ('{"label": 1}', "[1]", "{"):
        (tree / "metadata.jsonl").write_text(line)
        with pytest.raises(DatasetError, match=r"no path in the line .*metadata\.jsonl, line 1"):
            scan([tree / "metadata.jsonl"])


def test_single_images_count_where_they_are_wanted(tree: Path) -> None:
    assert found(scan([tree], images=True), tree) == [
        ("a.mp4", "video"),
        ("b/c.AVI", "video"),
        ("b/lone.png", "image"),
        *((f"f/{index}.png", "image") for index in range(3)),
    ]
    (tree / "f" / "frames.json").write_text("{}")
    assert found(scan([tree / "f", tree / "b" / "lone.png"], images=True), tree) == [
        ("b/lone.png", "image"),
        ("f", "frames"),
    ]


def record(path: str, kind: str = "video", **found_out: object) -> FileRecord:
    return FileRecord(path=path, kind=kind, size_bytes=1, modified_ns=0, checked="quick", **found_out)


def test_a_manifest_leaves_out_what_is_unusable_or_double(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    records = [
        record("a.mp4"),
        record("b/c.AVI", problem="truncated"),
        record("again.mp4", duplicate_of="a.mp4"),
        record("f", "frames"),
        record("b/lone.png", "image"),
    ]
    write_manifest(tree / "manifest.jsonl", records)
    with caplog.at_level("INFO"):
        assert found(scan([tree / "manifest.jsonl"]), tree) == [("a.mp4", "video"), ("f", "frames")]
    assert "2 files passed over, which the manifest calls unusable or double" in caplog.text
    assert len(scan([tree / "manifest.jsonl"], images=True)) == 3
    assert found(scan([tree / "manifest.jsonl"], exclude=[tree / "f"]), tree) == [("a.mp4", "video")]
    write_manifest(tree / "manifest.jsonl", records[1:3])
    with pytest.raises(DatasetError, match="saw 2 files unusable or double"):
        scan([tree / "manifest.jsonl"])


def write_tar(path: Path, names: list[str]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 4
            archive.addfile(info, io.BytesIO(b"data"))
    return path


def test_archives_of_videos(tree: Path) -> None:
    (tree / "tars").mkdir()
    for number in range(2):
        write_tar(tree / "tars" / f"{number}.tar", [f"{number}a.mp4", f"{number}a.json"])
    inside = [f"{tree}/tars/{number}.tar#{number}a.mp4" for number in range(2)]
    assert [item.name for item in scan([tree / "tars"])] == inside
    assert [(item.name, item.kind) for item in scan([str(tree / "tars" / "1.tar")])] == [(inside[1], "tar")]
    assert [item.name for item in scan([tree / "tars"], exclude=[tree / "tars" / "0.tar"])] == inside[1:]
    write_tar(tree / "b" / "c.tar", ["c.AVI"])  # what the folder was unpacked from
    (tree / "b" / "up").unlink()
    assert found(scan([tree / "b"]), tree) == [("b/c.AVI", "video")]


def test_a_url_that_is_neither_pack_nor_archive_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_module.shards, "is_pack", lambda source: False)
    with pytest.raises(DatasetError, match=r"no pack and no tar archive there \(s3://bucket/clips\)"):
        scan(["s3://bucket/clips"])


def test_masks_beside_frames_are_no_clips(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for kind in ("JPEGImages", "Annotations"):
        (tmp_path / "davis" / kind / "480p" / "bear").mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (8, 8)).save(tmp_path / "davis" / kind / "480p" / "bear" / f"{number}.png")
    caplog.set_level("INFO")
    (item,) = scan([tmp_path])
    assert item.path == tmp_path / "davis" / "JPEGImages" / "480p" / "bear"
    assert "1 folder of masks passed over" in caplog.text
    (named,) = scan([tmp_path / "davis" / "Annotations"])  # asked for by name, they are meant
    assert named.path.parent.parent.name == "Annotations"
