"""Small trained runs that several folders of tests look at; none may change them."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from retdm.data.split import open_split
from retdm.shard.build import build
from retdm.shard.spec import load_spec
from retdm.storage import open_store
from retdm.train.loop import train
from retdm.train.result import conclude
from retdm.train.session import LocalSession
from tests.train.conftest import ROOT, settings

_OVERRIDES = ("lmmo.k=3", "mlspl.rounds=3")


@dataclass(frozen=True)
class Trained:
    """Finished runs on one shard set of rendered scenes."""

    shards: str
    """URL of the shard set."""
    runs: Path
    """Folder of the runs."""

    def run(self, method: str) -> str:
        """URL of the finished run of this method, which is trained when first asked for."""
        folder = self.runs / method
        if not (folder / "result.json").exists():
            config = settings(self.shards, f"method={method}", *_OVERRIDES)
            conclude(train(config, LocalSession(), open_store(str(folder))))
        return str(folder)

    def photos(self, folder: Path, *, split: str = "test") -> list[Path]:
        """The photos of a split in table order, written into `folder` under their keys."""
        data = open_split(self.shards, split)
        table, paths = data.table, []
        for row, key in enumerate(table.keys):
            shard = data.info.shards[int(data.shard_numbers[row])]
            place = int(table.offsets[row]), int(table.sizes[row])
            paths.append(folder / f"{key}.jpg")
            paths[-1].write_bytes(data.store.read_range(shard.name, *place))
        return paths


@cache
def _made(root: Path) -> Trained:
    spec, options = load_spec(
        ROOT / "shards/synthetic.toml",
        ["options.images=40", "options.size=48", "shards.samples=10"],
    )
    (root / "source").mkdir()
    build(spec, options, source=root / "source", out=str(root / "shards"))
    return Trained(str(root / "shards"), root / "runs")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Finished runs, the same for all who import this."""
    root = tmp_path_factory.getbasetemp() / "trained"
    root.mkdir(exist_ok=True)
    return _made(root)
