"""The one sampler and loader: which clips make the batch of step s is a function of (seed, s), nothing else.

Sample positions count up without end. Position p belongs to epoch p // n and is the (p % n)-th of that epoch's own
order of the n items. Step s takes the next positions, split over the ranks in order, so the ranks' batches joined are
the batch that one rank would have. Starting at step s needs no replay.
"""

import atexit
import signal
import time
import weakref
from collections.abc import Generator, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch.utils.data import DataLoader, Dataset

from kinema.datasets.media import MediaDataset, Sample
from kinema.datasets.order import Order
from kinema.errors import ConfigError, KinemaError
from kinema.types import ClipBatch, LoadedBatch


def clips_per_epoch(num_items: int) -> int:
    """Clips in one effective epoch: one for each item.

    Epochs count repeats, as the papers do: a pass over n videos that draws 2 clips from each is 2 effective epochs.
    """
    return num_items


class Loader:
    """Batches without end, from step `start_step` on; the same bytes whatever the number of workers.

    batch_size: clips of this rank in a step, a multiple of `dataset.data.repeats`. DatasetError comes out of the
    iteration where too many files in a row cannot be read.
    """

    def __init__(
        self,
        dataset: MediaDataset,
        *,
        batch_size: int,
        num_workers: int,
        rank: int = 0,
        world_size: int = 1,
        start_step: int = 0,
    ) -> None:
        repeats = dataset.data.repeats
        if batch_size < 1 or batch_size % repeats:
            raise ConfigError(
                f"{batch_size} clips a rank with {repeats} clips from each video",
                where="--train.batch-size",
                fix=f"give a multiple of {repeats * world_size}",
            )
        self.dataset = dataset
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.rank = rank
        self.world_size = world_size
        self.start_step = start_step
        self._order = Order(dataset.items, image_share=dataset.data.image_share, seed=dataset.seed)

    def __iter__(self) -> Iterator[LoadedBatch]:
        batches = self._read()
        # workers ignore SIGTERM, by which Python would end those still there at exit: they have to be let go before
        atexit.register(_close, weakref.ref(batches))
        return batches

    def _read(self) -> Generator[LoadedBatch, None, None]:
        batches = DataLoader(
            _Batches(self.dataset),
            sampler=_Steps(self),
            batch_size=None,
            num_workers=self.num_workers,
            worker_init_fn=start_worker,
            generator=torch.Generator(),  # else it would take a number from the generator that resuming restores
        )
        for loaded in batches:
            if isinstance(loaded, KinemaError):
                raise loaded
            yield loaded

    def keys_of(self, step: int) -> list[tuple[int, int]]:
        """(epoch, index) of the samples that this rank reads for `step`."""
        per_rank = self.batch_size // self.dataset.data.repeats
        first = (step * self.world_size + self.rank) * per_rank
        return [self._order.key_at(position) for position in range(first, first + per_rank)]


class _Steps:
    """The keys of each step in turn, for the workers."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        step = self._loader.start_step
        while True:
            yield self._loader.keys_of(step)
            step += 1


class _Batches(Dataset):
    """Makes a whole batch at a time; an error for people travels as a value, since workers re-word what they raise."""

    def __init__(self, dataset: MediaDataset) -> None:
        self._dataset = dataset

    def __getitem__(self, keys: list[tuple[int, int]]) -> LoadedBatch | KinemaError:
        try:
            samples = [self._dataset.sample(epoch, index) for epoch, index in keys]
        except KinemaError as fault:
            return fault
        made_s = time.perf_counter()
        batch = _join(samples)
        collated_s = time.perf_counter() - made_s
        stages_s = {stage: sum(sample.stages_s[stage] for sample in samples) for stage in samples[0].stages_s}
        return LoadedBatch(
            batch=batch,
            skipped=[file for sample in samples for file in sample.skipped],
            stages_s={**stages_s, "collate": collated_s},
        )


def _join(samples: Sequence[Sample]) -> ClipBatch:
    return ClipBatch(
        frames=torch.from_numpy(np.concatenate([sample.frames for sample in samples])),
        seeds=torch.from_numpy(np.concatenate([sample.seeds for sample in samples])),
        times_s=torch.from_numpy(np.concatenate([sample.times_s for sample in samples])),
        ids=tuple(name for sample in samples for name in sample.ids),
        is_image=torch.tensor([sample.is_image for sample in samples for _ in sample.ids]),
        local_crops=_local_crops(samples),
        labels=_labels(samples),
    )


def _local_crops(samples: Sequence[Sample]) -> UInt8[torch.Tensor, "B T L 3 h w"] | None:
    crops = [sample.local_crops for sample in samples if sample.local_crops is not None]
    return torch.from_numpy(np.concatenate(crops)) if crops else None


def _labels(samples: Sequence[Sample]) -> Int64[torch.Tensor, " B"] | None:
    labels = [sample.label for sample in samples for _ in sample.ids]
    return None if None in labels else torch.tensor(labels)


def _close(batches: weakref.ReferenceType) -> None:
    if (unfinished := batches()) is not None:
        unfinished.close()


def start_worker(worker: int) -> None:
    """How every process that reads data begins: signals are its parent's business, and one thread is its share."""
    for stop in (signal.SIGINT, signal.SIGTERM):  # they are sent to the whole group
        signal.signal(stop, signal.SIG_IGN)
    torch.set_num_threads(1)
