import json
import os
import subprocess

import pytest
import torch

from kinema.errors import ConfigError, WeightsError
from kinema.train import checkpoint
from kinema.train.checkpoint import load_checkpoint, save_checkpoint
from kinema.train.checkpoint_files import (
    TrainState,
    check_checkpoint,
    find_newest_checkpoint,
    finished_steps,
    read_state,
    step_back,
)
from kinema.train.optim import build_optimizer
from tests.train.tiny import TinyMethod, tiny_batch, tiny_config

CHECKPOINT = ("method.safetensors", "optimizer.pt", "state.json", "SHA256SUMS")


def _trained(steps=3):
    method = TinyMethod()
    optimizer = build_optimizer(method, tiny_config())
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        method(tiny_batch(step), 0.0).loss.backward()
        optimizer.step()
    return method, optimizer


def _state(step):
    return TrainState(step=step, fingerprint="same", clips_seen=8 * step, cpu_s=1.5)


def test_what_is_loaded_is_what_was_saved(tmp_path):
    method, optimizer = _trained()
    folder = save_checkpoint(tmp_path, method, optimizer, _state(3), keep=2)
    assert folder == find_newest_checkpoint(tmp_path) == tmp_path / "checkpoints" / "step-00000003"
    fresh = TinyMethod()
    fresh_optimizer = build_optimizer(fresh, tiny_config())
    assert load_checkpoint(folder, fresh, fresh_optimizer, fingerprint="same") == _state(3) == read_state(folder)
    for saved, loaded in zip(method.state_dict().values(), fresh.state_dict().values(), strict=True):
        assert torch.equal(saved, loaded)
    moments, loaded_moments = optimizer.state_dict()["state"], fresh_optimizer.state_dict()["state"]
    assert moments.keys() == loaded_moments.keys()
    for number, values in moments.items():
        for name, value in values.items():
            assert torch.equal(value, loaded_moments[number][name]), (number, name)


def test_the_newest_are_kept_and_latest_points_at_the_newest(tmp_path):
    method, optimizer = _trained()
    for step in (10, 20, 30, 40):
        save_checkpoint(tmp_path, method, optimizer, _state(step), keep=2)
    root = tmp_path / "checkpoints"
    assert sorted(path.name for path in root.iterdir()) == ["latest", "step-00000030", "step-00000040"]
    assert os.readlink(root / "latest") == "step-00000040"
    assert json.loads((root / "latest" / "state.json").read_text())["step"] == 40


def test_a_run_without_checkpoints_begins_at_its_beginning(tmp_path):
    assert find_newest_checkpoint(tmp_path) is None
    assert finished_steps(tmp_path) == 0


def test_a_half_written_folder_is_never_read_and_is_cleaned(tmp_path):
    method, optimizer = _trained()
    save_checkpoint(tmp_path, method, optimizer, _state(10), keep=2)
    half = tmp_path / "checkpoints" / ".beside-step-00000020"
    half.mkdir()
    (half / "state.json").write_text("{")
    (tmp_path / "checkpoints" / ".beside-latest").symlink_to("step-00000010")
    (tmp_path / "checkpoints" / "step-of-mine").mkdir()
    assert finished_steps(tmp_path) == 10
    save_checkpoint(tmp_path, method, optimizer, _state(30), keep=2)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["latest", "step-00000010", "step-00000030", "step-of-mine"]


def test_everything_is_on_the_disk_before_the_name_appears(tmp_path, monkeypatch):
    events = []
    fsync, rename = os.fsync, os.rename
    monkeypatch.setattr(checkpoint.os, "fsync", lambda d: (events.append(os.readlink(f"/proc/self/fd/{d}")), fsync(d)))
    monkeypatch.setattr(checkpoint.os, "rename", lambda a, b: (events.append("rename"), rename(a, b)))
    save_checkpoint(tmp_path, *_trained(), _state(10), keep=1)
    root = tmp_path.resolve() / "checkpoints"
    beside = root / ".beside-step-00000010"
    written = [str(beside / name) for name in CHECKPOINT]
    assert events == [*written, str(beside), "rename", str(root), str(root)]


def _flip_bit(file, position):
    content = bytearray(file.read_bytes())
    content[position] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("name", CHECKPOINT[:3])
@pytest.mark.parametrize("harm", ["cut", "absent", "noise", "flipped bit"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_offered(tmp_path, name, harm):
    method, optimizer = _trained()
    save_checkpoint(tmp_path, method, optimizer, _state(10), keep=2)
    folder = save_checkpoint(tmp_path, method, optimizer, _state(20), keep=2)
    content = (folder / name).read_bytes()
    if harm == "absent":
        (folder / name).unlink()
    elif harm == "flipped bit":
        _flip_bit(folder / name, len(content) // 2)
    else:
        (folder / name).write_bytes(content[: len(content) // 2] if harm == "cut" else b"\x80\x02noise" * 40)
    with pytest.raises(WeightsError, match="run the same command with --resume-from step-00000010") as caught:
        load_checkpoint(folder, method, optimizer, fingerprint="same")
    assert caught.value.exit_code == 4
    assert caught.value.where == str(folder)


def test_every_flipped_bit_of_a_checkpoint_is_noticed(tmp_path):
    method, optimizer = _trained()
    folder = save_checkpoint(tmp_path, method, optimizer, _state(10), keep=2)
    check_checkpoint(folder)
    for name in CHECKPOINT:
        size = (folder / name).stat().st_size
        for position in {0, size // 7, size // 3, size // 2, size - 2, size - 1}:
            _flip_bit(folder / name, position)
            with pytest.raises(WeightsError, match="over with --fresh"):
                check_checkpoint(folder)
            _flip_bit(folder / name, position)
    check_checkpoint(folder)


def test_checksums_are_those_of_the_common_tool(tmp_path):
    folder = save_checkpoint(tmp_path, *_trained(), _state(10), keep=2)
    assert subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, check=False).returncode == 0


def test_a_checkpoint_from_before_checksums_is_read(tmp_path):
    method, optimizer = _trained()
    folder = save_checkpoint(tmp_path, method, optimizer, _state(10), keep=2)
    (folder / "SHA256SUMS").unlink()
    assert load_checkpoint(folder, method, optimizer, fingerprint="same").step == 10


@pytest.mark.parametrize(
    "changes",
    [
        {"step": 9999},
        {"step": -1},
        {"step": "10"},
        {"step": 10.0},
        {"step": True},
        {"clips_seen": None},
        {"cpu_s": "long"},
        {"skipped": "a.mp4"},
        {"skipped": ["a.mp4"]},
        {"speed": 3},
        "[]",
        "[" * 100_000,
        "10",
    ],
    ids=lambda changes: str(changes)[:20],
)
def test_a_state_that_cannot_be_is_refused(tmp_path, changes):
    folder = save_checkpoint(tmp_path, *_trained(), _state(10), keep=2)
    values = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(changes if isinstance(changes, str) else json.dumps(values | changes))
    with pytest.raises(WeightsError, match=r"cannot read the checkpoint: .*step-00000010"):
        read_state(folder)
    with pytest.raises(WeightsError):
        finished_steps(tmp_path)


def test_a_run_steps_back_to_a_named_checkpoint_or_to_the_newest_intact_one(tmp_path, caplog):
    step_back(tmp_path)  # a run without checkpoints simply starts
    method, optimizer = _trained()
    folders = [save_checkpoint(tmp_path, method, optimizer, _state(step), keep=4) for step in (10, 20, 30, 40)]
    step_back(tmp_path, to="step-00000030")
    assert finished_steps(tmp_path) == 30
    assert (tmp_path / "checkpoints" / "set-aside-step-00000040" / "method.safetensors").exists()
    for folder in folders[1:3]:
        _flip_bit(folder / "method.safetensors", 400)
    step_back(tmp_path)
    assert finished_steps(tmp_path) == 10
    assert sum("differs from its checksum" in message for message in caplog.messages) == 2
    step_back(tmp_path)  # an intact checkpoint stays
    assert finished_steps(tmp_path) == 10
    with pytest.raises(ConfigError, match="no checkpoint step-00000020"):
        step_back(tmp_path, to="step-00000020")
    _flip_bit(folders[0] / "optimizer.pt", 400)
    with pytest.raises(ConfigError, match="no checkpoint there is intact"):
        step_back(tmp_path)


def test_an_optimizer_file_with_code_in_it_is_refused(tmp_path):
    class Code:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    method, optimizer = _trained()
    folder = save_checkpoint(tmp_path, method, optimizer, _state(10), keep=2)
    torch.save(Code(), folder / "optimizer.pt")
    with pytest.raises(WeightsError):
        load_checkpoint(folder, method, optimizer, fingerprint="same")
    assert not (tmp_path / "ran").exists()


def test_weights_of_another_method_are_refused(tmp_path):
    method, optimizer = _trained()
    folder = save_checkpoint(tmp_path, method, optimizer, _state(10), keep=2)
    other = TinyMethod()
    other.extra = torch.nn.Linear(2, 2)
    with pytest.raises(WeightsError, match=r"extra\.weight"):
        load_checkpoint(folder, other, build_optimizer(other, tiny_config()), fingerprint="same")


def test_errors_other_than_a_full_disk_are_not_renamed(tmp_path):
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    with pytest.raises(FileExistsError):
        save_checkpoint(tmp_path, *_trained(), _state(10), keep=2)
