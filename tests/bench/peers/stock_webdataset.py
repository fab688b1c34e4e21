"""Stock WebDataset: `decode("pil")` and torchvision's transforms, as its documentation shows."""

from turns import BATCH, arguments, take_turns  # isort: skip

from collections.abc import Iterator

import torch
import webdataset as wds
from crops import crops
from torch import Tensor
from torch.utils.data import DataLoader

given = arguments()
torch.set_num_threads(1)


def batches() -> "DataLoader[tuple[Tensor]]":
    tars = sorted(str(path) for path in given.made.glob("shards/train/*.tar"))
    samples = wds.WebDataset(tars, shardshuffle=False, empty_check=False).shuffle(1000)
    images = samples.decode("pil").to_tuple("jpg").map_tuple(crops(given))
    return DataLoader(
        images.batched(BATCH),
        batch_size=None,
        num_workers=given.workers,
        persistent_workers=given.workers > 0,
    )


if __name__ == "__main__":
    loader = batches()

    def epoch() -> Iterator[Tensor]:
        return (images for (images,) in loader)

    take_turns(epoch)
