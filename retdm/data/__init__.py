"""Streaming: manifest, plan, node cache and loader of WebDataset shards."""
