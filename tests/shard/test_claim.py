"""Builds to one place at once: one wins or all refuse, and nothing is mixed."""

import concurrent.futures
import json
import multiprocessing
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from retdm.claims import Claim, announce, lock, rivals
from retdm.claims.claimant import read_claim, sealed, unsealed, who
from retdm.data.manifest import MANIFEST
from retdm.errors import ConfigError, ShardError, StorageError
from retdm.shard.build import build
from retdm.shard.claim import _BUILD, claim
from retdm.shard.spec import load_spec
from retdm.shard.verify import verify
from retdm.storage import open_store
from retdm.storage.file import FileStore


def attempt(source, out, seed, start):
    """One build of a round, in its own process; "won" or why it refused."""
    spec, options = load_spec(source / "spec.toml", [f"split.seed={seed}", "shards.samples=9"])
    time.sleep(max(0, start - time.time()))
    try:
        build(spec, options, source=source, out=out)
    except ConfigError as error:
        return str(error)
    return "won"


@pytest.fixture(scope="module")
def pool():
    """Three processes that are warm."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(3, context) as processes:
        list(processes.map(time.sleep, [0.3] * 3))
        yield processes


def rounds(pool, source, places, gaps, at_once=3):
    """Which of the builds that start `gaps` seconds apart wins, by round; None if all refuse."""
    winners = []
    for number, (out, gap) in enumerate(zip(places, gaps, strict=True)):
        start = time.time() + 0.05
        futures = [
            pool.submit(attempt, source, out, 3 * number + seed, start + gap * seed)
            for seed in range(at_once)
        ]
        said = [future.result(60) for future in futures]
        for text in said:
            assert (
                text == "won"
                or "another build writes there (process" in text
                or ("holds a finished shard set" in text)
            ), text
        store = open_store(out)
        assert said.count("won") == (MANIFEST in store.names()) <= 1, said
        if "won" in said:
            assert verify(out) == []
            manifest = json.loads(store.read(MANIFEST))
            assert manifest["source"]["split"]["seed"] == 3 * number + said.index("won")
        assert [name for name in store.names() if name.startswith("_build/claim-")] == []
        winners.append(said.index("won") if "won" in said else None)
    return winners


def test_in_a_folder_one_wins(pool, source, tmp_path):
    gaps = [0, 0.02, 0.04, 0.06]
    places = [str(tmp_path / f"out{number}") for number in range(len(gaps))]
    assert None not in rounds(pool, source, places, gaps)


def test_on_s3_one_wins_or_all_refuse(s3, pool, source, monkeypatch):
    gaps = [0, 1]  # at most one wins; the first
    places = [s3.url("race") for _ in gaps]
    context = multiprocessing.get_context("spawn")  # with the server's settings
    with concurrent.futures.ProcessPoolExecutor(3, context) as processes:
        list(processes.map(time.sleep, [0.3] * 3))
        winners = rounds(processes, source, places, gaps)
    assert winners[1] == 0


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.cluster)])
def store(request, tmp_path):
    """A place of each kind."""
    if request.param == "folder":
        return open_store(str(tmp_path / "out"))
    return open_store(request.getfixturevalue("s3").url("claim"))


def test_the_second_refuses_and_says_who_is_there(store):
    with claim(store) as held:
        held.check()
        with (
            pytest.raises(
                ConfigError,
                match=rf"--out {store.url}: another build writes there \(process {os.getpid()} on "
                r".*, since 20.*\); wait until it has ended, end it, or choose another place",
            ),
            claim(store),
        ):
            pass
        held.check()
    assert store.names() == []
    with claim(store):
        pass


def killed_holder(store):
    """A process of this machine took the place and was killed."""
    program = (
        "import os, sys; from retdm.shard.claim import claim; from retdm.storage import open_store"
        "\nwith claim(open_store(sys.argv[1])): os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", program, store.url])
    assert done.returncode == -9
    assert len(store.names()) == 1


def test_the_claim_of_a_killed_build_does_not_count(store):
    killed_holder(store)
    with claim(store) as held:
        assert store.names() == [held.name]
    assert store.names() == []


def test_a_claim_that_was_lost_is_noticed(store):
    with claim(store) as held:
        store.write(held.name, sealed(CLAIM))
        with pytest.raises(StorageError, match="is not this build's any more: another build took"):
            held.check()
        store.delete(held.name)
        with pytest.raises(StorageError, match="is not this build's any more"):
            held.check()


CLAIM = {
    **{"token": "f" * 32, "holds": True, "beat": 0},
    **{"host": "far", "pid": 1, "since": "noon", "machine": "other", "started": "1"},
}


def foreign(store, **change):
    """A claim of a build on another machine."""
    content = CLAIM | change
    name = f"_build/claim-{content['token']}"
    store.write(name, sealed(content))
    return name


class Flipping(FileStore):
    """A store without locks; one bit is wrong in every `every`th read, or in all of a name."""

    def __init__(self, root, every=2):
        super().__init__(root)
        object.__setattr__(self, "reads", 0)
        object.__setattr__(self, "every", every)
        object.__setattr__(self, "dice", random.Random(5))

    def read(self, name):
        content = bytearray(super().read(name))
        object.__setattr__(self, "reads", self.reads + 1)
        if self.reads % self.every == 0:
            bit = self.dice.randrange(8 * len(content))
            content[bit // 8] ^= 1 << bit % 8
        return bytes(content)


def living(**change):
    """A claim of this very process, but another's token."""
    return CLAIM | who() | change


def test_a_flipped_bit_does_not_make_a_build_dead(tmp_path):
    store = Flipping(tmp_path)
    with announce.announce(store, _BUILD, living(token="a" * 32)) as held:
        for _ in range(200):
            with (
                pytest.raises(ConfigError, match=rf"there \(process {os.getpid()} on "),
                announce.announce(store, _BUILD, living(token="b" * 32)),
            ):
                pass
            held.check()
            assert store.names() == [held.name]
    assert store.reads > 400


def test_every_flipped_bit_is_noticed():
    content = sealed(CLAIM)
    assert unsealed(content, "x") == CLAIM
    for bit in range(8 * len(content)):
        wrong = bytearray(content)
        wrong[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ShardError, match="x: a claim whose bytes disagree with its checksum"):
            unsealed(bytes(wrong), "x")


def test_a_claim_that_is_never_read_right(tmp_path):
    store = Flipping(tmp_path, every=1)
    with announce.announce(store, _BUILD, living(token="a" * 32)) as held:
        with pytest.raises(StorageError, match=r"checksum, so whether this build still holds"):
            held.check()
        with (
            pytest.raises(
                ConfigError, match=rf"may write there .*; if no build runs, delete .*{held.name}"
            ),
            announce.announce(store, _BUILD, living(token="b" * 32)),
        ):
            pass
        assert store.names() == [held.name]


@pytest.mark.cluster
def test_a_build_of_another_machine_counts_while_its_claim_is_renewed(s3, monkeypatch):
    store = open_store(s3.url("claim"))
    monkeypatch.setattr(announce, "_HEARTBEAT_S", 0.2)
    foreign(store)
    started = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        beat = thread.submit(lambda: (time.sleep(0.3), foreign(store, beat=1)))
        with pytest.raises(ConfigError, match="process 1 on far, since noon"), claim(store):
            pass
        beat.result()
    # Now nobody renews it.
    with claim(store) as held:
        assert store.names() == [held.name]
    assert time.monotonic() - started > 0.6


@pytest.mark.cluster
@pytest.mark.parametrize("content", [b"", b"{}", b"3", b'{"machine": 3}', sealed({"pid": 3})])
def test_a_claim_that_makes_no_sense_may_be_a_living_builds(s3, content):
    store = open_store(s3.url("claim"))
    name = f"_build/claim-{'e' * 32}"
    with claim(store) as held:
        store.write(name, content)
        (unknown,) = rivals(held)
        assert unknown.endswith(
            f"{name}: a claim whose bytes disagree with its checksum: "
            "if no other build runs, delete it"
        )
    with pytest.raises(ConfigError, match=f"if no build runs, delete .*{name}"), claim(store):
        pass
    assert store.names() == [name]
    store.delete(name)
    with claim(store):
        pass


@pytest.mark.cluster
def test_a_claim_is_renewed_and_not_made_again_when_it_was_taken(s3, monkeypatch):
    store = open_store(s3.url("claim"))
    monkeypatch.setattr(announce, "_HEARTBEAT_S", 0.1)
    with claim(store) as held:
        deadline = time.monotonic() + 20
        while read_claim(store, held.name)["beat"] < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        store.delete(held.name)
        time.sleep(0.5)
        assert store.names() == []


@pytest.mark.cluster
def test_two_that_both_believe_to_hold_the_place_publish_nothing(s3, source, monkeypatch):
    url = s3.url("claim")
    store = open_store(url)
    spec, options = load_spec(source / "spec.toml")

    def late(held, real=rivals):
        foreign(store)  # as if the storage had not shown it before
        return real(held)

    monkeypatch.setattr("retdm.shard.build.rivals", late)
    with pytest.raises(
        ConfigError, match=r"another build writes there too \(process 1 on far, since noon\), wh"
    ):
        build(spec, options, source=source, out=url)
    names = store.names()
    assert MANIFEST not in names
    assert not [name for name in names if name.startswith("_build/train")]


@pytest.mark.cluster
def test_one_that_is_about_to_withdraw_is_no_rival(s3):
    store = open_store(s3.url("claim"))
    with claim(store) as held:
        foreign(store, holds=False)
        assert rivals(held) == []
        foreign(store)
        assert rivals(held) == ["process 1 on far, since noon"]


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(lock.fcntl, "flock", flock)
    with (
        pytest.raises(
            StorageError, match=r"has no locks \(Operation not supported\), so two buil"
        ),
        claim(open_store(str(tmp_path / "out"))),
    ):
        pass


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "out").write_bytes(b"a file")
    with (
        pytest.raises(StorageError, match=r"out/_build/lock: .*; check permissions"),
        claim(open_store(str(tmp_path / "out"))),
    ):
        pass


def test_a_folder_that_cannot_be_made():
    with (
        pytest.raises(StorageError, match=r"/proc/x/_build/lock: the file cannot be made, or is"),
        claim(open_store("/proc/x")),
    ):
        pass


@pytest.mark.parametrize("content", [b"", b"\xff", b"3", b'{"pid": 1}'])
def test_a_lock_that_says_nothing_still_holds(tmp_path, content):
    store = open_store(str(tmp_path / "out"))
    with claim(store) as held:
        store.path(held.name).write_bytes(content)
        with (
            pytest.raises(ConfigError, match=r"writes there \(another process\); wait"),
            claim(store),
        ):
            pass


def test_a_claim_goes_to_other_processes(tmp_path):
    import pickle

    with claim(open_store(str(tmp_path / "out"))) as held:
        copy = pickle.loads(pickle.dumps(held))
        assert isinstance(copy, Claim)
        copy.check()
    assert not (Path(tmp_path) / "out/_build").exists()
