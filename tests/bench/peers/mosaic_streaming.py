"""MosaicML streaming: MDS shards of JPEGs (its "jpeg" encoding), PIL, torchvision's transforms."""

from turns import BATCH, arguments, take_turns  # isort: skip

from typing import Any

import torch
from crops import crops
from PIL import Image
from streaming import MDSWriter, StreamingDataset
from torch.utils.data import DataLoader

given = arguments()
torch.set_num_threads(1)


class Photos(StreamingDataset):
    """As streaming.vision does it."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.crops = crops(given)

    def __getitem__(self, at: int) -> Any:
        return self.crops(super().__getitem__(at)["image"])


def make() -> str:
    folder = given.made / "mds"
    if not (folder / "index.json").is_file():
        columns = {"image": "jpeg", "label": "int"}
        with MDSWriter(out=str(folder), columns=columns) as out:
            for path in sorted(given.photos.iterdir()):
                out.write({"image": Image.open(path), "label": 0})
    return str(folder)


if __name__ == "__main__":
    dataset = Photos(local=make(), shuffle=True, batch_size=BATCH)
    loader = DataLoader(
        dataset,
        batch_size=BATCH,
        num_workers=given.workers,
        persistent_workers=given.workers > 0,
    )
    take_turns(lambda: loader)
