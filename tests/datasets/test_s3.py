"""Packs and tars read from object storage: a real S3-compatible server on the loopback interface."""

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest

from kinema.datasets.packs import PackedVideo, is_pack, open_packed, read_pack
from kinema.datasets.scan import scan
from kinema.datasets.tars import is_tar, open_tar_member, read_tar
from kinema.errors import DatasetError, DecodeError
from tests.datasets.packs import write_pack
from tests.datasets.test_packs import VIDEOS
from tests.datasets.test_tars import write_tar

pytest.importorskip("s3fs")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    system = fsspec.filesystem("s3")
    name = tmp_path.name.replace("_", "-")
    system.mkdir(name)
    yield f"s3://{name}"
    fsspec.filesystem("s3").clear_instance_cache()


def upload(folder: Path, url: str) -> None:
    fsspec.filesystem("s3").put(f"{folder}/", f"{url}/", recursive=True)


def frames_of(video: PackedVideo) -> np.ndarray:
    return open_packed(video).frames(range(video.num_frames))


def test_a_pack_is_read_from_s3_as_from_the_disk(bucket: str, tmp_path: Path) -> None:
    write_pack(tmp_path / "pack", VIDEOS)
    (tmp_path / "pack" / "some.txt").write_text("run/d.mp4\n")
    upload(tmp_path / "pack", f"{bucket}/data/pack")
    url = f"{bucket}/data/pack"
    assert is_pack(url)
    assert not is_pack(f"{bucket}/data")
    remote, local = read_pack(url), read_pack(tmp_path / "pack")
    assert [video.name for video in remote] == [video.name for video in local]
    for here, there in zip(local, remote, strict=True):
        np.testing.assert_array_equal(frames_of(there), frames_of(here))
        everything = range(here.num_frames)
        np.testing.assert_array_equal(open_packed(there).times_s(everything), open_packed(here).times_s(everything))
    assert [item.name for item in scan([url])] == [f"{url}#{video.name}" for video in local]
    assert [video.name for video in read_pack(f"{url}#some.txt")] == ["run/d.mp4"]


def test_a_forked_worker_reads_too(bucket: str, tmp_path: Path) -> None:
    write_pack(tmp_path / "pack", VIDEOS[:2])
    upload(tmp_path / "pack", f"{bucket}/pack")
    videos = read_pack(f"{bucket}/pack")
    wanted = [frames_of(video) for video in videos]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.map_async(frames_of, videos * 2).get(timeout=60)
    for frames, again in zip(found, wanted * 2, strict=True):
        np.testing.assert_array_equal(frames, again)


def test_a_tar_is_read_from_s3(bucket: str, tmp_path: Path) -> None:
    (tmp_path / "up").mkdir()
    write_tar(tmp_path / "up" / "some.tar")
    upload(tmp_path / "up", bucket)
    url = f"{bucket}/some.tar"
    assert is_tar(url)
    local = read_tar(tmp_path / "up" / "some.tar")
    remote = read_tar(url)
    assert [(one.name, one.offset, one.size) for one in remote] == [(one.name, one.offset, one.size) for one in local]
    with open_tar_member(remote[1]) as there, open_tar_member(local[1]) as here:
        np.testing.assert_array_equal(there.frames([7, 2]), here.frames([7, 2]))


def test_what_is_not_there_is_said(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pack(tmp_path / "pack", VIDEOS[:2])
    upload(tmp_path / "pack", f"{bucket}/pack")
    videos = read_pack(f"{bucket}/pack")
    fsspec.filesystem("s3").rm(f"{bucket}/pack/shard-000000.tar")
    with pytest.raises(DatasetError, match=r"shard-000000\.tar") as raised:
        frames_of(videos[0])
    assert not isinstance(raised.value, DecodeError), "a network is not a damaged file"
    with pytest.raises(DatasetError):
        scan([f"{bucket}/nothing"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    fsspec.filesystem("s3").clear_instance_cache()
    with pytest.raises(DatasetError, match="check the address"):
        read_pack(f"{bucket}/pack")
