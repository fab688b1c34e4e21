"""litdata: chunks of JPEGs, torchvision's transforms.

It decodes JPEGs by torchvision itself and hands out tensors; the way "pil" stores the bytes and
opens them with PIL.
"""

from turns import BATCH, arguments, take_turns  # isort: skip

import io
from pathlib import Path
from typing import Any

import torch
from crops import crops
from litdata import StreamingDataLoader, StreamingDataset, optimize
from PIL import Image

given = arguments()
torch.set_num_threads(1)
BY_PIL = "pil" in given.way


class Photos(StreamingDataset):
    """As litdata's documentation does it."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder, shuffle=True)
        self.crops = crops(given, tensors=not BY_PIL)

    def __getitem__(self, at: int) -> Any:
        image = super().__getitem__(at)["image"]
        return self.crops(Image.open(io.BytesIO(image)) if BY_PIL else image)


def sample(path: Path) -> dict[str, Any]:
    return {"image": path.read_bytes() if BY_PIL else Image.open(path), "label": 0}


def make() -> str:
    folder = given.made / f"lit-{'bytes' if BY_PIL else 'jpeg'}"
    if not (folder / "index.json").is_file():
        photos = sorted(given.photos.iterdir())
        optimize(sample, photos, str(folder), chunk_bytes="64MB", num_workers=1)
    return str(folder)


if __name__ == "__main__":
    loader = StreamingDataLoader(
        Photos(make()),
        batch_size=BATCH,
        num_workers=given.workers,
        persistent_workers=given.workers > 0,
    )
    take_turns(lambda: loader)
