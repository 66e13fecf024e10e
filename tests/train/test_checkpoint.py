import json
import os

import pytest
import torch

from kinema.errors import WeightsError
from kinema.train import checkpoint
from kinema.train.checkpoint import (
    TrainState,
    find_newest_checkpoint,
    finished_steps,
    load_checkpoint,
    read_state,
    save_checkpoint,
)
from kinema.train.optim import build_optimizer
from tests.train.tiny import TinyMethod, tiny_batch, tiny_config


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
    written = [str(beside / name) for name in ("method.safetensors", "optimizer.pt", "state.json")]
    assert events == [*written, str(beside), "rename", str(root), str(root)]


@pytest.mark.parametrize("name", ["method.safetensors", "optimizer.pt", "state.json"])
@pytest.mark.parametrize("harm", ["cut", "absent", "noise"])
def test_a_damaged_checkpoint_says_what_to_do(tmp_path, name, harm):
    method, optimizer = _trained()
    folder = save_checkpoint(tmp_path, method, optimizer, _state(10), keep=2)
    content = (folder / name).read_bytes()
    if harm == "absent":
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content[: len(content) // 2] if harm == "cut" else b"\x80\x02noise" * 40)
    with pytest.raises(WeightsError, match="remove this folder to resume from the previous one") as caught:
        load_checkpoint(folder, method, optimizer, fingerprint="same")
    assert caught.value.exit_code == 4


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
