"""A pack of shards written without the code under test: tarfile, Pillow, zlib and safetensors alone."""

import io
import json
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from tests.video.encode import moving_frames


def write_pack(folder: Path, videos: Sequence[dict], *, per_shard: int = 2, **about: object) -> dict[str, list[bytes]]:
    """Writes a pack; gives the JPEGs of each video by its name.

    videos: name, num_frames, height, width, and fps or times_s of each.
    """
    folder.mkdir(parents=True)
    jpegs = {video["name"]: encoded(video, seed) for seed, video in enumerate(videos)}
    shards = []
    for first in range(0, len(videos), per_shard):
        shards.append(_write_shard(folder, first // per_shard, videos[first : first + per_shard], jpegs))
    described = {"format": "kinema.pack/1", "form": "shards", "complete": True, "shards": shards}
    (folder / "pack.json").write_text(json.dumps(described | about))
    return jpegs


def encoded(video: dict, seed: int) -> list[bytes]:
    answers = []
    for frame in moving_frames(video["num_frames"], video["height"], video["width"], seed=seed):
        memory = io.BytesIO()
        Image.fromarray(frame).save(memory, "JPEG", quality=92)
        answers.append(memory.getvalue())
    return answers


def _write_shard(folder: Path, number: int, videos: Sequence[dict], jpegs: dict[str, list[bytes]]) -> dict:
    name = f"shard-{number:06d}"
    rows, times, named = [], [np.empty(0)], []
    with tarfile.open(folder / f"{name}.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
        for at, video in enumerate(videos):
            for index, jpeg in enumerate(jpegs[video["name"]]):
                info = tarfile.TarInfo(f"{number}{at}.{index:06d}.jpg")
                info.size = len(jpeg)
                rows.append((archive.offset + tarfile.BLOCKSIZE, len(jpeg), zlib.crc32(jpeg)))
                archive.addfile(info, io.BytesIO(jpeg))
            facts = {key: video[key] for key in ("name", "num_frames", "height", "width")}
            named.append(facts | {"fps": video.get("fps", 30.0), "has_times": "times_s" in video})
            times.append(np.array(video.get("times_s", []), np.float64))
    tensors = {"frames": np.array(rows, np.int64), "times_s": np.concatenate(times)}
    index = folder / f"{name}.safetensors"
    save_file(tensors, index, metadata={"kinema.shard/1": json.dumps(named)})
    header_bytes = 8 + int.from_bytes(index.read_bytes()[:8], "little")
    return {"name": f"{name}.tar", "videos": len(videos), "index_header_bytes": header_bytes}
