"""Reader of rendered scenes: renders them into the source folder if they are not there yet."""

from pathlib import Path

from pydantic import Field

from retdm.config import Settings
from retdm.datasets.coco import CocoOptions, read_coco
from retdm.datasets.record import Dataset
from retdm.datasets.synthetic.generate import FILES, IMAGES, generate


class SyntheticOptions(Settings):
    """Options of the `synthetic` reader (`options.*`)."""

    images: int = Field(default=1500, ge=5, le=1_000_000, description="Scenes; a fifth are test")
    seed: int = Field(default=0, ge=0, lt=2**63, description="Another seed gives other scenes")
    size: int = Field(default=160, ge=32, le=4096, description="Longer side, pixels")


def read_synthetic(source: Path, options: SyntheticOptions) -> Dataset:
    """Render the scenes unless they are there, then read them as any COCO set.

    Raises:
        DatasetError: If the folder holds scenes made with other options.
    """
    generate(source, images=options.images, seed=options.seed, size=options.size)
    return read_coco(source, CocoOptions(annotations=dict(FILES), images=IMAGES))
