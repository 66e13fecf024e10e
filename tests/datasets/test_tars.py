import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from kinema.datasets.scan import scan
from kinema.datasets.tars import is_tar, open_tar_member, read_tar
from kinema.errors import DatasetError, DecodeError
from kinema.video.reader import open_video
from tests.video.encode import encode, moving_frames


def write_tar(path: Path, *, tar_format: int = tarfile.PAX_FORMAT) -> None:
    """Two videos, one of them deep and with a long name, among what is passed over."""
    folder = path.parent / "members"
    folder.mkdir()
    encode(folder / "a.mp4", moving_frames(12, 32, 48, seed=1))
    encode(folder / "b.mkv", moving_frames(9, 32, 48, seed=2), gop=4)
    with tarfile.open(path, "w", format=tar_format) as archive:
        archive.add(folder / "a.mp4", arcname="000.mp4")
        info = tarfile.TarInfo("000.json")
        info.size = 2
        archive.addfile(info, io.BytesIO(b"{}"))
        archive.add(folder / "b.mkv", arcname=f"{'deep/' * 30}001.mkv")
        archive.add(folder / "a.mp4", arcname=".hidden/002.mp4")
        link = tarfile.TarInfo("003.mp4")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)


@pytest.mark.parametrize("tar_format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_members_are_read_where_they_lie(tmp_path: Path, tar_format: int) -> None:
    write_tar(tmp_path / "some.tar", tar_format=tar_format)
    members = read_tar(tmp_path / "some.tar")
    assert [member.name for member in members] == ["000.mp4", f"{'deep/' * 30}001.mkv"]
    for member, name in zip(pickle.loads(pickle.dumps(members)), ("a.mp4", "b.mkv"), strict=True):
        with open_tar_member(member) as inside, open_video(tmp_path / "members" / name) as file:
            assert inside.num_frames == file.num_frames
            np.testing.assert_array_equal(inside.frames([8, 1, 5]), file.frames([8, 1, 5]))
            np.testing.assert_array_equal(np.stack(list(inside)), np.stack(list(file)))
    assert [item.name for item in scan([tmp_path / "some.tar"])] == [
        f"{tmp_path / 'some.tar'}#{name}" for name in ("000.mp4", f"{'deep/' * 30}001.mkv")
    ]


def test_nothing_is_extracted(tmp_path: Path) -> None:
    write_tar(tmp_path / "some.tar")
    before = sorted(tmp_path.rglob("*"))
    with open_tar_member(read_tar(tmp_path / "some.tar")[0]) as video:
        video.frames([0])
    assert sorted(tmp_path.rglob("*")) == before


def test_a_damaged_member_is_named(tmp_path: Path) -> None:
    write_tar(tmp_path / "some.tar")
    members = read_tar(tmp_path / "some.tar")
    data = bytearray((tmp_path / "some.tar").read_bytes())
    data[members[0].offset : members[0].offset + members[0].size] = bytes(members[0].size)
    (tmp_path / "some.tar").write_bytes(data)
    with pytest.raises(DecodeError, match=r"some\.tar#000\.mp4"):
        open_tar_member(members[0])
    with open_tar_member(members[1]) as video:
        assert video.num_frames == 9


def test_a_tar_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    write_tar(tmp_path / "some.tar")
    members = read_tar(tmp_path / "some.tar")
    whole = (tmp_path / "some.tar").read_bytes()
    second = members[1].offset
    torn = {
        "inside the last": whole[: second + 100],
        "inside a header": whole[: second - 700],
        "header overwritten": whole[: second - 512] + b"x" * 512 + whole[second:],
        "no tar": b"not a tar" * 1000,
    }
    for what, content in torn.items():
        (tmp_path / "torn.tar").write_bytes(content)
        with pytest.raises(DatasetError, match="copy"):
            pytest.fail(f"{what}: {read_tar(tmp_path / 'torn.tar')}")
    with pytest.raises(DatasetError, match="no such tar"):
        read_tar(tmp_path / "absent.tar")


def test_what_is_a_tar(tmp_path: Path) -> None:
    write_tar(tmp_path / "some.TAR")
    (tmp_path / "folder.tar").mkdir()
    assert is_tar(tmp_path / "some.TAR")
    assert is_tar("s3://bucket/some.tar")
    assert not is_tar(tmp_path / "folder.tar")
    assert not is_tar(tmp_path / "absent.tar")
    assert not is_tar(tmp_path / "members" / "a.mp4")
