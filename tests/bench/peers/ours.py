"""retdm's loader: shards of this project's builder, the paper's corner crops."""

from turns import BATCH, arguments, take_turns  # isort: skip

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from retdm.config import DataSettings
from retdm.data.loader import TrainingLoader
from retdm.data.split import open_split

given = arguments()
torch.set_num_threads(1)
settings = DataSettings(
    url=str(given.made / (given.way or "shards")),
    batch_size=BATCH,
    image_size=given.size,
    loader_workers=given.workers,
)


if __name__ == "__main__":
    data = open_split(settings.url, "train")
    loader = TrainingLoader(data, settings, seed=0, rank=0, world_size=1)
    numbers = itertools.count()

    def epoch() -> Iterator[Tensor]:
        for batch in loader.epoch(next(numbers)):
            yield batch.images.float().div_(255) if given.float else batch.images

    take_turns(epoch)
    loader.close()
