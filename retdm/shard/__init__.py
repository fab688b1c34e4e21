"""Packs a data set into verified WebDataset shards: `python -m retdm.shard build|verify|stats`."""
