import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kinema.errors import ConfigError
from kinema.train.parallel import Ranks, _choose_device, compute_rank_batch_size, join_ranks, place_method
from tests.train.tiny import TinyMethod, tiny_batch, tiny_config

ROOT = Path(__file__).resolve().parents[2]


def test_one_process_needs_no_group():
    with join_ranks("cpu") as ranks:
        assert ranks == Ranks(rank=0, world_size=1, local_rank=0, device=torch.device("cpu"))
        assert ranks.is_first
        assert not torch.distributed.is_initialized()


@pytest.mark.parametrize("option", ["tpu", "mps", "cuda:x", "cuda:-1"])
def test_unknown_devices_are_refused(option):
    with pytest.raises(ConfigError, match="--device"), join_ranks(option):
        pass


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match="--device"), join_ranks("cuda:1"):
        pass


def test_the_batch_is_divided_among_ranks_and_parts():
    assert compute_rank_batch_size(tiny_config(batch_size=12, accumulate=2), Ranks(world_size=3)) == 4
    with pytest.raises(ConfigError, match=r"--train\.batch-size"):
        compute_rank_batch_size(tiny_config(batch_size=12, accumulate=2), Ranks(world_size=4))


_UNDER_TORCHRUN = """
import sys
from pathlib import Path
from kinema.ops.collectives import gather_objects
from kinema.train.parallel import join_ranks
with join_ranks("cpu") as ranks:
    assert gather_objects(ranks.rank) == [0, 1]
    Path(sys.argv[1], str(ranks.rank)).write_text(f"{ranks.local_rank} of {ranks.world_size} on {ranks.device}")
"""


def test_torchrun_gives_each_process_its_rank(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(_UNDER_TORCHRUN)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [*command, str(script), str(tmp_path)], check=True, capture_output=True, timeout=60, env=environment, cwd=ROOT
    )
    assert (tmp_path / "0").read_text() == "0 of 2 on cpu"
    assert (tmp_path / "1").read_text() == "1 of 2 on cpu"


def _gradients(config):
    method = TinyMethod(dropout=0.5)
    module = place_method(method, config, Ranks())
    torch.manual_seed(3)
    module(tiny_batch(1), 0.0).loss.backward()
    return {name: parameter.grad for name, parameter in method.named_parameters()}


def test_activation_checkpointing_changes_no_gradient_and_computes_blocks_again():
    plain = _gradients(tiny_config())
    checkpointed = _gradients(tiny_config(activation_checkpointing=True))
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient)

    calls = []
    method = TinyMethod()
    method.blocks[0][0].register_forward_pre_hook(lambda *_: calls.append(1))
    place_method(method, tiny_config(activation_checkpointing=True), Ranks())
    method(tiny_batch(1), 0.0).loss.backward()
    assert len(calls) == 2  # once forward, once again backward


_COMPILED = """
import functools, torch
torch.compile = functools.partial(torch.compile, backend="aot_eager")  # the same graphs without a C++ compiler's minute
from kinema.train.parallel import Ranks, place_method
from tests.train.tiny import TinyMethod, tiny_batch, tiny_config
from torch._dynamo.utils import counters

def gradients(config):
    method = TinyMethod(dropout=0.0)
    names = list(method.state_dict())
    place_method(method, config, Ranks())(tiny_batch(1), 0.0).loss.backward()
    assert list(method.state_dict()) == names
    return [parameter.grad for parameter in method.parameters()]

plain = gradients(tiny_config())
assert not counters["stats"]
for option in (False, True):
    torch._dynamo.reset()
    counters.clear()
    compiled = gradients(tiny_config(compile=True, activation_checkpointing=option))
    for one, other in zip(plain, compiled, strict=True):
        torch.testing.assert_close(one, other)
    assert counters["stats"]["unique_graphs"] == 2, (option, counters)
"""


def test_compiled_blocks_give_the_same_gradients():
    subprocess.run([sys.executable, "-c", _COMPILED], check=True, timeout=240, cwd=ROOT)


def test_ranks_of_one_machine_take_a_cuda_device_each(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [_choose_device(option, 1).index for option in ("auto", "cuda")] == [1, 1]
    assert _choose_device("cuda:1", None).index == 1
    assert _choose_device("cpu", 1).type == "cpu"
    with pytest.raises(ConfigError, match="one device for several ranks"):
        _choose_device("cuda:1", 0)
    with pytest.raises(ConfigError, match="cuda:2"):
        _choose_device("cuda", 2)
