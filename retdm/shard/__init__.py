"""Makes verified WebDataset shards: `python -m retdm.shard fetch|build|adopt|verify|stats`."""
