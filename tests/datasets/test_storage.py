from pathlib import Path

import fsspec
import pytest

from kinema.datasets.storage import ByteRange, is_url, join, read_all, read_ranges, size_of
from kinema.errors import ConfigError, DatasetError


@pytest.fixture(params=["local", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder on the disk, or in fsspec's memory."""
    return str(tmp_path) if request.param == "local" else f"memory://{tmp_path.name}"


def write(place: str, content: bytes) -> str:
    with fsspec.open(place, "wb") as file:
        file.write(content)  # pyright: ignore[reportAttributeAccessIssue]
    return place


def test_ranges_of_a_file(place: str) -> None:
    content = bytes(range(256)) * 1000
    file = write(join(place, "a.bin"), content)
    asked = [(5, 10), (200_000, 3), (5, 2), (0, 256_000), (255_990, 100), (300_000, 5), (70_000, 1)]
    answers = read_ranges([ByteRange(file, start, size) for start, size in asked])
    assert answers == [content[start : start + size] for start, size in asked]
    assert read_ranges([ByteRange(file, 255_999, 2**50)]) == [b"\xff"], "memory is taken for what is there"
    assert read_ranges([]) == []


def test_ranges_of_several_files(place: str) -> None:
    files = [write(join(place, f"{number}.bin"), bytes([number]) * 100) for number in range(3)]
    assert read_ranges([ByteRange(file, 10, 2) for file in files]) == [b"\0\0", b"\1\1", b"\2\2"]


def test_sizes_and_limits(place: str) -> None:
    file = write(join(place, "a.bin"), b"12345")
    assert (size_of(file), size_of(join(place, "none"))) == (5, None)
    assert read_all(file, limit=5) == b"12345"
    with pytest.raises(DatasetError, match="5 bytes where at most 4"):
        read_all(file, limit=4)
    with pytest.raises(DatasetError, match="no such file"):
        read_all(join(place, "none"), limit=4)


def test_near_ranges_come_in_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    file = write("memory://merged/a.bin", bytes(10**6))
    system = fsspec.filesystem("memory")
    requests: list[int] = []
    original = type(system).cat_ranges

    def cat_ranges(self, paths, starts, ends, **options):
        requests.append(len(paths))
        return original(self, paths, starts, ends, **options)

    monkeypatch.setattr(type(system), "cat_ranges", cat_ranges)
    read_ranges([ByteRange(file, start, 10) for start in (0, 40_000, 900_000)])
    assert requests == [2]


def test_a_file_that_is_replaced_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"old")
    assert read_ranges([ByteRange(str(file), 0, 3)]) == [b"old"]
    (tmp_path / "b.bin").write_bytes(b"new")
    (tmp_path / "b.bin").replace(file)
    assert read_ranges([ByteRange(str(file), 0, 3)]) == [b"new"]


def test_what_cannot_be_reached_is_said() -> None:
    assert is_url("s3://bucket/key")
    assert not is_url("/home/s3")
    with pytest.raises(DatasetError, match="check the address"):
        size_of("nosuchprotocol://bucket/key")
    with pytest.raises(ConfigError, match="pip install"):
        size_of("gs://bucket/key")  # its library is not installed here
