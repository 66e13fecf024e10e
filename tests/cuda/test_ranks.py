"""What ranks say to each other through nccl; one rank is what one device can hold."""

import pytest
import torch
import torch.distributed as dist

from kinema.ops.collectives import all_gather, any_over_ranks, gather_objects, max_over_ranks, mean_over_ranks
from kinema.train.loop import Stepper
from kinema.train.parallel import Ranks
from kinema.train.train_config import Schedule
from tests.cuda.test_methods import SMOKE, method_and_batch
from tests.train.tiny import tiny_config


@pytest.fixture
def group(cuda, tmp_path):
    """The process group of `joined_ranks`, of one rank."""
    dist.init_process_group("cpu:gloo,cuda:nccl", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    yield cuda
    dist.destroy_process_group()


def test_collectives_give_what_one_rank_has(group):
    rows = torch.randn(4, 3, device=group, requires_grad=True)
    gathered = all_gather(rows)
    (gathered**2).sum().backward()
    torch.testing.assert_close(gathered, rows)
    torch.testing.assert_close(rows.grad, 2 * rows.detach())
    torch.testing.assert_close(mean_over_ranks(rows), rows.detach())
    torch.testing.assert_close(max_over_ranks(rows), rows.detach())
    assert [any_over_ranks(True), any_over_ranks(False)] == [True, False]
    assert gather_objects({"a": 1}) == [{"a": 1}]


@pytest.mark.filterwarnings("ignore:`broadcast_buffers`:FutureWarning")
@pytest.mark.parametrize("name", SMOKE)
def test_a_step_among_ranks_is_the_step_of_one_process(group, name):
    method, batch = method_and_batch(name)
    among = Ranks(rank=0, world_size=1, device=group)
    schedule, config = Schedule(steps=4, warmup_steps=0), tiny_config(steps=4, batch_size=len(batch), base_lr=0.01)
    stepper = Stepper(method, config, schedule, among)
    stepper._module = torch.nn.parallel.DistributedDataParallel(method, broadcast_buffers=False)
    measured = [stepper.take(step, batch)["loss"].item() for step in (1, 2, 3)]
    stepper.watch.settle()
    dist.barrier()
    alone_method, _ = method_and_batch(name)
    alone = Stepper(alone_method, config, schedule, Ranks(device=group))
    assert measured == pytest.approx([alone.take(step, batch)["loss"].item() for step in (1, 2, 3)], rel=1e-3)
    alone.watch.settle()
