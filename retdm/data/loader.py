"""Batches for training and evaluation, decoded by processes that live across epochs.

A process gets whole batches to decode, in turn; which batches is decided in the training process
by the plan, so the content of batches depends neither on the number of loader processes nor on
the number of workers.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import takewhile
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from retdm.config import DataSettings
from retdm.counts import COUNTS, Counted
from retdm.data.ahead import ReadAhead
from retdm.data.bad import BadSamples
from retdm.data.batch import Batch
from retdm.data.decode import Decoder
from retdm.data.maker import BatchMaker, BatchRequest, Failure, Made, PartRequest
from retdm.data.order import Order, epoch_order, resolve_window, table_order
from retdm.data.plan import Cut, coming_shards, num_batches, part_of, parts_of
from retdm.data.processes import begin, forkserver, storage_settings
from retdm.data.source import SampleReader
from retdm.data.split import SplitData

# Batch normalisation cannot train on a single image.
_MIN_TRAINING_ROWS = 2
_PREFETCH = 2


class _Requests(Sampler[BatchRequest]):
    """The requests of the coming epoch; the DataLoader asks for a new iterator each epoch."""

    def __init__(self) -> None:
        self.coming: Iterator[BatchRequest] = iter(())

    def __iter__(self) -> Iterator[BatchRequest]:
        return self.coming


def _as_is(item: Made) -> Made:
    return item


class _Loader:
    """Turns parts of an order into batches, in order, by `data.loader_workers` processes."""

    def __init__(
        self,
        data: SplitData,
        settings: DataSettings,
        *,
        cuts: Sequence[Cut],
        window: int,
        substitute: bool,
        counted: Counted,
        bad: BadSamples | None,
        pin_memory: bool,
    ) -> None:
        self.data = data
        self.bad = BadSamples(settings.max_bad_samples) if bad is None else bad
        self.batch_size = cuts[0].batch_size
        self.window = window
        self._settings = settings
        self._substitute, self._counted = substitute, counted
        self._cuts = cuts
        self._reader = SampleReader(data, settings, window=window)
        decoder = Decoder.of(
            image_size=settings.image_size, resize=settings.resize, augment=settings.augment
        )
        self._requests = _Requests()
        self._in_flight = settings.loader_workers * _PREFETCH
        # A generator of its own: else each epoch would draw from torch's global one, and what
        # is drawn from that later (dropout) would depend on how often a run was interrupted.
        common: dict[str, Any] = {
            "batch_size": None,
            "sampler": self._requests,
            "collate_fn": _as_is,
            "pin_memory": pin_memory,
            "generator": torch.Generator(),
        }
        if settings.loader_workers:
            common |= {
                "num_workers": settings.loader_workers,
                "prefetch_factor": _PREFETCH,
                "persistent_workers": True,
                "multiprocessing_context": forkserver(__name__),
                "worker_init_fn": partial(begin, storage_settings()),
            }
        self._batches: DataLoader[Made] = DataLoader(
            BatchMaker(self._reader, decoder, split=data.split), **common
        )

    def _run(
        self, order: Order, start: int, crop: tuple[int, int] | None, stop: int | None = None
    ) -> Iterator[Batch]:
        end = num_batches(len(order), self.batch_size) if stop is None else stop
        self._requests.coming = (self._request(order, b, crop) for b in range(start, end))
        shards = takewhile(lambda one: one[0] < end, coming_shards(order, start, self._cuts))
        ahead = ReadAhead(self._reader, shards, ahead=self._settings.read_ahead)
        try:
            ahead.reached(start + self._in_flight)
            for batch, item in enumerate(self._batches, start=start):
                if isinstance(item, Failure):
                    raise item.error
                COUNTS.merge(item.counts)
                COUNTS.add(self._counted, int(item.valid.sum()))
                self.bad.add(item.bad, url=self.data.url)
                ahead.reached(batch + 1 + self._in_flight)
                yield item
        finally:
            ahead.close()

    def _request(self, order: Order, batch: int, crop: tuple[int, int] | None) -> BatchRequest:
        parts = [part_of(order, batch, cut) for cut in self._cuts]
        targets = self.data.table.targets
        requests = [PartRequest(part, targets[part.rows], targets[part.spare]) for part in parts]
        return BatchRequest(requests, crop, substitute=self._substitute)

    def close(self) -> None:
        """End the loader processes."""
        # DataLoader has no public way; dropping the last reference to its iterator is one.
        self._batches._iterator = None


class TrainingLoader(_Loader):
    """One rank's batches of a training split, epoch after epoch.

    Args:
        data: The split.
        settings: `data.*`; `batch_size` is the global one.
        seed: Of the run; order and crops follow from it.
        rank: This process.
        world_size: Number of ranks.
        parts: Of a global batch, at least one for each rank, which is the default; a rank's are
            equally large and stand one behind the other in its batches.
        augment: Random crops, if `data.augment` asks for them; else the centre crop.
        bad: Where bad images are noted, a list of the loader's own by default.
        pin_memory: Page-locked memory, for asynchronous copies to a GPU.
    """

    def __init__(
        self,
        data: SplitData,
        settings: DataSettings,
        *,
        seed: int,
        rank: int,
        world_size: int,
        parts: int | None = None,
        augment: bool = True,
        bad: BadSamples | None = None,
        pin_memory: bool = False,
    ) -> None:
        self._seed = seed
        self._augment = augment
        parts, size = parts or world_size, settings.batch_size
        super().__init__(
            data,
            settings,
            cuts=[
                Cut(batch_size=size, part=part, parts=parts, min_rows=_MIN_TRAINING_ROWS)
                for part in parts_of(rank, world_size=world_size, parts=parts)
            ],
            window=resolve_window(settings.shuffle_window, data.shard_sizes),
            substitute=True,
            counted="training_images",
            bad=bad,
            pin_memory=pin_memory,
        )

    @property
    def batches_per_epoch(self) -> int:
        """Global batches, the same on all ranks; the last may be short."""
        return num_batches(len(self.data), self.batch_size)

    def epoch(
        self, epoch: int, start_batch: int = 0, *, augment: bool | None = None
    ) -> Iterator[Batch]:
        """The batches of one epoch from `start_batch` on, the same as in an unbroken run.

        Start no epoch before the last one's iterator is used up or closed.

        Args:
            epoch: From 0.
            start_batch: From 0 to `batches_per_epoch`.
            augment: Overrides the loader's, for a stage that trains otherwise.

        Raises:
            BadSampleError: If more images are bad than `data.max_bad_samples`.
            ShardError: If a shard is missing.
            StorageError: If the storage cannot be read.
        """
        order = epoch_order(
            self.data.shard_sizes,
            digest=self.data.digest,
            split=self.data.split,
            seed=self._seed,
            epoch=epoch,
            window=self.window,
        )
        crops = self._augment if augment is None else augment
        return self._run(order, start_batch, (self._seed, epoch) if crops else None)


class EvaluationLoader(_Loader):
    """One rank's batches of a split in table order, each sample valid once over all ranks.

    Args:
        data: The split.
        settings: `data.*` except the batch size.
        rank: This process.
        world_size: Number of ranks.
        batch_size: Global.
        bad: Where bad images are noted, a list of the loader's own by default.
        pin_memory: Page-locked memory, for asynchronous copies to a GPU.
    """

    def __init__(
        self,
        data: SplitData,
        settings: DataSettings,
        *,
        rank: int,
        world_size: int,
        batch_size: int,
        bad: BadSamples | None = None,
        pin_memory: bool = False,
    ) -> None:
        super().__init__(
            data,
            settings,
            cuts=[Cut(batch_size=batch_size, part=rank, parts=world_size, min_rows=1)],
            window=1,
            substitute=False,
            counted="evaluation_images",
            bad=bad,
            pin_memory=pin_memory,
        )

    def __len__(self) -> int:
        """Global batches, the same on all ranks."""
        return num_batches(len(self.data), self.batch_size)

    def batches(self, start: int = 0, stop: int | None = None) -> Iterator[Batch]:
        """All batches, or those from `start` to `stop` - 1; see `TrainingLoader.epoch` for errors.

        Begin no others before these are used up or closed.
        """
        return self._run(table_order(self.data.shard_sizes), start, None, stop)
