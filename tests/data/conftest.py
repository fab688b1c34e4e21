"""Small shard sets, built without retdm.shard."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import webdataset as wds
from PIL import Image

from retdm.data.index import Member, format_index
from retdm.data.manifest import MANIFEST, Manifest, ShardInfo, SplitInfo
from retdm.data.table import table_bytes
from retdm.storage import Store, open_store

LABELS = ("sea", "sky", "boat")
Builder = Callable[..., Manifest]


def jpeg(number: int, *, width: int = 40, height: int = 30) -> bytes:
    """A small JPEG that differs for each number."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=90)
    return out.getvalue()


def build(
    url: str,
    images: Sequence[bytes],
    *,
    per_shard: int | Sequence[int] = 4,
    split: str = "train",
    extension: str = "jpg",
) -> Manifest:
    """Write a shard set of one split; the labels of sample i are those with bit set in i."""
    store = open_store(url)
    sizes = (
        [min(per_shard, len(images) - at) for at in range(0, len(images), per_shard)]
        if isinstance(per_shard, int)
        else list(per_shard)
    )
    labels = [[bit for bit in range(len(LABELS)) if i >> bit & 1] for i in range(len(images))]
    keys = [f"photo-{i:03d}" for i in range(len(images))]
    starts = np.cumsum([0, *sizes])
    built = [
        _shard(store, f"{split}/{n:06d}.tar", list(range(starts[n], starts[n + 1])), keys, images,
               labels, extension)
        for n in range(len(sizes))
    ]  # fmt: skip
    shards = tuple(info for info, _ in built)
    places = [place for _, listed in built for place in listed]
    digests = [hashlib.sha256(image).hexdigest() for image in images]
    table = table_bytes(
        keys,
        labels,
        digests,
        [40] * len(keys),
        [30] * len(keys),
        [offset for offset, _ in places],
        [size for _, size in places],
    )
    store.write(f"{split}/labels.parquet", table)
    info = SplitInfo(
        samples=len(keys),
        table=f"{split}/labels.parquet",
        table_sha256=hashlib.sha256(table).hexdigest(),
        shards=shards,
    )
    manifest = Manifest(name="tiny", labels=LABELS, splits={split: info}, source={})
    store.write(MANIFEST, manifest.to_bytes())
    return manifest


def _shard(
    store: Store,
    name: str,
    rows: list[int],
    keys: list[str],
    images: Sequence[bytes],
    labels: list[list[int]],
    extension: str,
) -> tuple[ShardInfo, list[tuple[int, int]]]:
    out = io.BytesIO()
    with wds.TarWriter(out, mtime=0) as writer:
        for row in rows:
            about = json.dumps({"label_ids": labels[row]}).encode()
            writer.write({"__key__": keys[row], extension: images[row], "json": about})
    content = out.getvalue()
    samples: dict[str, list[Member]] = {}
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        for entry in tar:
            key, _, ext = entry.name.partition(".")
            samples.setdefault(key, []).append(
                Member(ext, entry.offset_data, entry.size, entry.name)
            )
    index = format_index([tuple(members) for members in samples.values()])
    info = ShardInfo(
        name=name,
        samples=len(rows),
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        index_sha256=hashlib.sha256(index).hexdigest(),
    )
    store.write(name, content)
    store.write(info.index, index)
    images = [next(m for m in members if m.ext == extension) for members in samples.values()]
    return info, [(image.offset, image.size) for image in images]


@pytest.fixture(scope="session")
def build_set() -> Builder:
    """`build_set(url, images, per_shard=4)` writes a shard set."""
    return build


@pytest.fixture(scope="session")
def make_jpeg() -> Callable[..., bytes]:
    """`make_jpeg(number)` gives a small JPEG."""
    return jpeg


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory: pytest.TempPathFactory) -> str:
    """22 samples in shards of 5, 1, 7, 0, 6 and 3, in a folder; do not change it."""
    url = str(tmp_path_factory.mktemp("tiny"))
    build(url, [jpeg(i) for i in range(22)], per_shard=(5, 1, 7, 0, 6, 3))
    return url
