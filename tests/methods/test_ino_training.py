"""INO in the engine: it goes on bit for bit, ranks agree, and a run leaves both networks."""

from itertools import count
from pathlib import Path

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from kinema.draws import seed_of
from kinema.methods.ino import INO
from kinema.ops.collectives import rank
from kinema.recipes.registry import RECIPES
from kinema.runs.hooks import make_export_hooks
from kinema.train.log import RunLog
from kinema.train.loop import Hook, Stepper
from kinema.train.parallel import Ranks
from kinema.train.train_config import Schedule
from kinema.types import ClipBatch
from kinema.weights.files import load_encoder
from kinema.weights.load import load
from tests.methods.test_ino import TINY, VARIANTS, make_batch
from tests.ranks import run_on_ranks
from tests.train.tiny import assert_same_weights, tiny_config, tiny_fit, tiny_loaded

CONFIG = {
    "steps": 6, "batch_size": 4, "warmup_steps": 2, "checkpoint_every_steps": 3, "base_lr": 0.1,
    "weight_decay_end": 0.4, "clip_grad_norm": 0.5, "clip_grad_of": "tensor",
}  # fmt: skip


def new(config=TINY) -> INO:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        method = INO(config)
        method.init_weights()
    return method


def batch_of(step: int) -> ClipBatch:
    batch = make_batch(size=4)
    turned = torch.roll(batch.frames, step, dims=-1), torch.roll(batch.local_crops, step, dims=-1)
    seeds = torch.tensor([seed_of(step, k) for k in range(4)])
    return ClipBatch(frames=turned[0], local_crops=turned[1], seeds=seeds, ids=batch.ids)


def batches(after: int, stop=None, stop_at: int | None = None):
    for step in count(after + 1):
        if stop is not None:
            stop.requested = step == stop_at
        yield tiny_loaded(batch_of(step))


def test_resuming_restores_teacher_centers_and_schedules_bit_for_bit(tmp_path):
    from kinema.train.parallel import StopRequest

    config = tiny_config(**CONFIG)
    whole, begun, gone_on = new(), new(), new()
    tiny_fit(tmp_path / "whole", config=config, method=whole, batches=batches(0))
    stop = StopRequest()
    tiny_fit(tmp_path / "parts", config=config, method=begun, batches=batches(0, stop, 4), stop=stop)
    tiny_fit(tmp_path / "parts", config=config, method=gone_on, batches=batches(4))
    assert_same_weights(gone_on, whole)
    changed = [name for name, tensor in whole.state_dict().items() if not torch.equal(tensor, begun.state_dict()[name])]
    assert "teacher.encoder.cls_token" in changed
    assert "class_targets.center" in changed
    assert "patch_targets.center" in changed


def _ddp_step(name):
    ranks = Ranks(rank=rank(), world_size=2, local_rank=rank())
    config = tiny_config(**CONFIG)
    method = new(VARIANTS[name])
    stepper = Stepper(method, config, Schedule(steps=6, warmup_steps=0), ranks)
    assert isinstance(stepper._module, DistributedDataParallel)
    for step in (1, 2):  # a second step fails where the first left a parameter unused
        own = batch_of(step).split(2)[rank()]
        stepper.take(step, own)
    return {key: tensor.numpy() for key, tensor in method.state_dict().items()}


@pytest.mark.parametrize("name", ["ino", "affinity alone"])
def test_two_ranks_step_as_one(name):
    first, second = run_on_ranks(_ddp_step, name)
    method = new(VARIANTS[name])
    stepper = Stepper(method, tiny_config(**CONFIG), Schedule(steps=6, warmup_steps=0), Ranks())
    for step in (1, 2):
        stepper.take(step, batch_of(step))
    for key, tensor in method.state_dict().items():
        assert (first[key] == second[key]).all(), key
        if "qkv.bias" in key:  # a key's bias has a gradient of zero, and AdamW makes steps of its rounding errors
            continue
        torch.testing.assert_close(torch.from_numpy(first[key]), tensor, atol=2e-4, rtol=1e-3, msg=key)


def _measured_by_the_first_rank(folder):
    ranks = Ranks(rank=rank(), world_size=2, local_rank=rank())
    measured = []
    hook = Hook(every_steps=1, function=lambda method, step, log: measured.append(method(batch_of(9), 0.0).loss.item()))
    own = (tiny_loaded(batch_of(step).split(2)[rank()]) for step in count(1))
    config = tiny_config(**{**CONFIG, "steps": 2, "warmup_steps": 0})
    tiny_fit(Path(folder), config=config, method=new(), batches=own, ranks=ranks, hooks=[hook] if rank() == 0 else [])
    return len(measured)


def test_the_first_rank_can_measure_a_loss_while_the_other_waits(tmp_path):
    assert run_on_ranks(_measured_by_the_first_rank, str(tmp_path)) == [2, 0]


def test_a_run_leaves_the_teacher_and_the_student_beside_it(tmp_path):
    method = new()
    method.after_step(0.0)
    with torch.no_grad():
        method.student.encoder.cls_token.add_(1)
    hook = make_export_hooks(tmp_path, tiny_config(export_every_steps=5))[1]
    hook.function(method, 5, RunLog(tmp_path, steps=5, writes=False))
    folder = tmp_path / "encoders" / "step-00000005"
    for path, network in ((folder, method.teacher), (folder / "student", method.student)):
        assert_same_weights(load_encoder(path)[0], network.encoder)
        assert load(path, device="cpu").source.source == str(path)


@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith(("ino", "dino", "ibot"))])
def test_recipes_give_their_method_the_clips_and_crops_it_wants(name):
    recipe = RECIPES[name]()
    config = recipe.method
    assert recipe.data.sampling.clip_frames == config.num_frames
    assert recipe.data.frame_views
    assert recipe.data.local_crops.count > 0
    assert recipe.data.local_crops.size % config.encoder.patch_size == 0
    assert recipe.train.batch_size % recipe.data.repeats == 0
    with torch.device("meta"):
        INO(config)
