"""Packs a data set into verified WebDataset shards: `python -m retdm.shard build|verify|stats`."""

from retdm.shard.build import build
from retdm.shard.spec import ShardSpec, load_spec
from retdm.shard.stats import stats
from retdm.shard.verify import Fault, verify

__all__ = ["Fault", "ShardSpec", "build", "load_spec", "stats", "verify"]
