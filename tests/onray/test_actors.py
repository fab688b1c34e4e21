"""How a cluster is shared out among actors, and what is told of their end.

Here an actor is an object of this process; on a cluster they are tested with `retdm.predict`.
"""

import re
import traceback

import pytest
import ray.data
import ray.exceptions

from retdm.console import Failed
from retdm.errors import ConfigError, StorageError
from retdm.onray.actors import Share, run_actors, share_out

SHARE = Share(actors=1, cpus=1, gpus=0)
LESS = "fewer of them"
HEAD = {"CPU": 0.0, "memory": 1e9}
GPUS = {"CPU": 16.0, "GPU": 4.0}


@pytest.mark.parametrize(
    "machines, actors, share",
    [
        ([HEAD, {"CPU": 2.0}], None, Share(1, 2, 0)),
        ([{"CPU": 2.0}], 2, Share(2, 1, 0)),
        ([{"CPU": 8.0}, {"CPU": 4.0}], None, Share(2, 4, 0)),
        ([{"CPU": 8.0}, {"CPU": 4.0}], 3, Share(3, 4, 0)),
        ([HEAD, GPUS, GPUS], None, Share(8, 4, 1)),
        ([GPUS], 2, Share(2, 8, 1)),
        ([GPUS, {"CPU": 64.0}], None, Share(4, 4, 1)),
    ],
)
def test_cores_are_shared_equally_and_a_gpu_goes_to_each(machines, actors, share):
    assert share_out(machines, actors) == share


@pytest.mark.parametrize(
    "machines, actors, said",
    [
        ([{"CPU": 2.0}], 3, "--actors 3: each needs a CPU core, Ray has 2 cores and 0 GPUs; ask"),
        ([GPUS], 5, "--actors 5: each needs a CPU core and a GPU, Ray has 16 cores and 4 GPUs;"),
        ([HEAD], None, "--actors 1: each needs a CPU core, Ray has 0 cores and 0 GPUs; ask for"),
    ],
)
def test_more_actors_than_there_is_room_for_are_refused(machines, actors, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        share_out(machines, actors)


class Blocks:
    """A data set whose one actor is an object of this process."""

    def __init__(self, blocks):
        self._blocks = blocks

    def map_batches(self, actor, *, fn_constructor_args, **_):
        self._actor = actor(*fn_constructor_args)
        return self

    def iter_rows(self):
        try:
            for block in self._blocks:
                for made in self._actor(block):
                    yield from made.to_pylist()
        except ray.exceptions.RayError:
            raise
        except Exception as error:
            wrapped = ray.exceptions.UserCodeException("UDF failed to process a data block.")
            wrapped.__cause__ = error
            text = "".join(traceback.format_exception(wrapped))
            raise ray.exceptions.RayTaskError(
                "map", text, wrapped, proctitle="ray::map", pid=7, ip="10.0.0.7"
            ).as_instanceof_cause() from None


@pytest.fixture
def here(monkeypatch):
    monkeypatch.setattr(ray.data, "from_arrow", Blocks)
    monkeypatch.setattr("retdm.onray.actors._tame", lambda: None)
    # It would turn the logger of this process into one of Ray's.
    monkeypatch.setattr("retdm.onray.actors.speak", lambda: None)


def raiser(error):
    def fail(*_):
        raise error

    return fail


def test_steps_of_all_items_come(here):
    steps = run_actors(lambda share: lambda item: iter([item, share.cpus]), "ab", SHARE, less=LESS)
    assert list(steps) == ["a", 1, "b", 1]


@pytest.mark.parametrize(
    "make", [raiser, lambda error: lambda _: raiser(error)], ids=["make", "work"]
)
def test_a_bug_in_an_actor_keeps_its_traceback(here, make):
    with pytest.raises(ray.exceptions.RayTaskError) as told:
        list(run_actors(make(AssertionError("3 labels, not 4")), "a", SHARE, less=LESS))
    assert re.search(r"in fail\n[^\n]+\n(.*\n)*AssertionError: 3 labels, not 4", str(told.value))


@pytest.mark.parametrize(
    "make", [raiser, lambda error: lambda _: raiser(error)], ids=["make", "work"]
)
def test_an_error_that_the_user_can_mend_comes_as_it_is(here, make):
    with pytest.raises(StorageError, match=r"^s3://b/x: full$"):
        list(run_actors(make(StorageError("s3://b/x: full")), "a", SHARE, less=LESS))


def test_a_lost_process_is_told_in_one_line(here):
    lost = ray.exceptions.RayActorError("5a", "The actor died.\n\tpid: 4711\n\tip: 10.0.0.7\n")
    said = r"^process 4711 on 10\.0\.0\.7 died without a word.*is enough \(fewer of them\); "
    with pytest.raises(Failed, match=said):
        list(run_actors(lambda share: raiser(lost), "a", SHARE, less=LESS))
