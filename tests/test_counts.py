"""What a process counts, by all its threads."""

from concurrent.futures import ThreadPoolExecutor

from retdm.counts import Counts


def test_threads_add_up():
    counts = Counts()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: [counts.add("cache_hits") for _ in range(500)], range(8)))
    assert counts.of("cache_hits") == 4000
    assert counts.of("cache_misses") == 0


def test_what_is_taken_is_merged_elsewhere():
    here, there = Counts(), Counts()
    here.add("s3_read_bytes", 3)
    there.add("s3_read_bytes", 4)
    here.merge(there.take())
    assert (here.of("s3_read_bytes"), there.of("s3_read_bytes")) == (7, 0)
