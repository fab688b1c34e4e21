"""The shared fixtures do what the tests that use them rely on."""

import os
import sys

import pytest
import torch
import torch.distributed as dist

from tests.conftest import ROOT


def _sum_of_ranks(rank, offset):
    value = torch.tensor([float(rank + offset)])
    dist.all_reduce(value)
    return rank, dist.get_world_size(), value.item()


def _fail_on_one(rank):
    if rank == 1:
        raise ValueError("rank 1 gives up")
    dist.barrier()


def _vanish(rank):
    if rank == 0:
        os._exit(3)
    dist.barrier()


@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 3])
def test_ranks_form_a_group(ranks, world):
    total = sum(range(world)) + 10 * world
    assert ranks(world).run(_sum_of_ranks, 10) == [(r, world, total) for r in range(world)]


@pytest.mark.slow
def test_a_rank_that_fails_is_reported_and_the_next_call_works(ranks):
    with pytest.raises(ValueError, match="rank 1 gives up"):
        ranks(2).run(_fail_on_one)
    with pytest.raises(Exception, match="terminated abruptly"):
        ranks(2).run(_vanish)
    assert len(ranks(2).run(_sum_of_ranks, 0)) == 2


def test_s3_urls_are_fresh_and_the_bucket_exists(s3):
    assert s3.url("a") != s3.url("a")
    client = s3.client()
    client.put_object(Bucket=s3.bucket, Key="k", Body=b"v")
    assert client.get_object(Bucket=s3.bucket, Key="k")["Body"].read() == b"v"
    assert client.meta.endpoint_url == s3.endpoint == os.environ["AWS_ENDPOINT_URL"]


def test_the_s3_server_leaves_this_process_as_it_is(s3):
    # Importing Swift would let eventlet replace parts of threading for every later test.
    assert "swift" not in sys.modules
    assert "eventlet" not in sys.modules


def test_cluster_local_is_importable():
    assert any(path.endswith("cluster/local") for path in sys.path)


@pytest.mark.parametrize("name", [".s3", ".ray", ".demo"])
def test_folders_that_hold_keys_are_neither_committed_nor_sent_to_a_cluster(name):
    for path in (".gitignore", ".rayignore"):
        assert name in [line.rstrip("/") for line in (ROOT / path).read_text().splitlines()]
