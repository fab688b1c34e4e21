"""Which failures of workers end a run at once, which are tried again, and what is told of them."""

import logging
import pickle

import pytest
import ray.exceptions
import ray.train

from retdm.console import Failed
from retdm.errors import BadSampleError, ShardError, StorageError, TransientStorageError
from retdm.onray.failure import Failure
from retdm.onray.failures import FRUITLESS, Watch, _is_news, explain
from retdm.onray.placement import Placement
from retdm.onray.preempted import Preempted
from retdm.train.notice import Interrupted, Notice
from tests.onray.test_placement import placement_of

SLOW = TransientStorageError("s3://b/x: cannot reach it; check the network")
KILLED = """The actor died unexpectedly before finishing this task.
\tclass_name: RayTrainWorker
\tactor_id: 5a2f
\tpid: 4711
\tip: 10.0.0.7
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit \
detail: Worker unexpectedly exits with a connection error code 2. End of file."""
BROKEN = RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer\nmore")


class Wrapped(Exception):
    """As Ray hands a worker's exception to the controller."""

    def __init__(self, cause):
        super().__init__(str(cause))
        self._base_exc = cause


class Unhealthy(Exception):
    """As Ray hands a lost process to the controller."""

    def __init__(self, text, *, preempted=False):
        super().__init__(text)
        self.health_check_failure = ray.exceptions.RayActorError("5a", text, preempted=preempted)


@pytest.fixture
def watch(monkeypatch):
    # It would turn the logger of this process into one of Ray's.
    monkeypatch.setattr("retdm.onray.failures.speak", lambda: None)
    return Watch(2, Placement())


@pytest.mark.parametrize("wrap", [lambda error: error, Wrapped])
def test_what_the_user_must_mend_is_final(watch, wrap):
    failures = {0: BROKEN, 1: wrap(ShardError("damaged"))}
    with pytest.raises(ShardError, match="damaged"):
        watch.after_exception(None, failures)


def test_each_restart_is_told_in_one_line_as_long_as_there_are_any(watch, caplog):
    for failures in ({0: Wrapped(SLOW)}, {0: BROKEN, 1: Wrapped(MemoryError())}, {1: BROKEN}):
        watch.after_exception(None, failures)
    assert [record.getMessage() for record in caplog.records] == [
        f"worker group failed: {SLOW}; restart 1 of 2",
        "worker group failed: rank 1: MemoryError; restart 2 of 2",
    ]


def test_a_failure_is_told_with_its_machine_and_those_that_are_silent(monkeypatch, caplog):
    monkeypatch.setattr("retdm.onray.failures.speak", lambda: None)
    watch, late = Watch(1, placement_of(2)), RuntimeError("[gloo] Timed out waiting 20000ms")
    where = "rank 0 on 10.0.0.2, and rank 2 on 10.0.0.3 does not answer"
    watch.after_exception(None, {0: Wrapped(late)})
    assert [record.getMessage() for record in caplog.records] == [
        f"worker group failed: {where}: RuntimeError: [gloo] Timed out waiting 20000ms; "
        "restart 1 of 1"
    ]
    # As it reaches the program, from another process.
    with pytest.raises(Failed, match=f"^{where}: RuntimeError: "):
        raise _explained({0: Wrapped(pickle.loads(pickle.dumps(late)))})


def test_a_storage_fault_is_told_with_the_machine_that_met_it(monkeypatch, caplog):
    monkeypatch.setattr("retdm.onray.failures.speak", lambda: None)
    fault = TransientStorageError("s3://b/x: cannot reach it; check the network")
    Watch(1, placement_of()).after_exception(None, {2: Wrapped(fault), 0: BROKEN})
    told = f"{SLOW} (rank 2 on 10.0.0.3)"
    assert [record.getMessage() for record in caplog.records] == [
        f"worker group failed: {told}; restart 1 of 1"
    ]
    assert str(_explained({2: Wrapped(pickle.loads(pickle.dumps(fault)))})).startswith(f"{told}; ")


def test_preempted_machines_do_not_count_and_are_told_once(watch, caplog):
    for _ in range(3):
        watch.after_exception(None, {0: BROKEN, 1: Unhealthy(KILLED, preempted=True)})
    watch.after_exception(None, {0: Wrapped(SLOW)})
    first, second = [record.getMessage() for record in caplog.records]
    assert first.endswith("; restarting (not counted)")
    assert second.endswith("; restart 1 of 2")


def test_leaving_a_machine_in_order_is_told_once_and_does_not_count(watch, caplog, monkeypatch):
    monkeypatch.setattr("retdm.onray.failures.time.time", lambda: 1000.0)
    left = {0: Wrapped(Preempted(7)), 1: Wrapped(Preempted(7, "5a2f (10.0.0.7)", 1_030_000))}
    for _ in range(2):
        watch.after_exception(None, left)
    watch.after_exception(None, {0: Wrapped(SLOW)})
    first, second = [record.getMessage() for record in caplog.records]
    assert first == (
        "node 5a2f (10.0.0.7) is going away in 30 s (preemption); checkpoint at step 7 is "
        "written; restarting elsewhere (not counted)"
    )
    assert second.endswith("; restart 1 of 2")


def test_ray_takes_leaving_in_order_for_a_lost_machine_also_out_of_another_process():
    left = pickle.loads(pickle.dumps(Preempted(7, "5a2f", 5)))
    assert isinstance(left, ray.exceptions.RayActorError)
    assert left.preempted
    assert (left.step, left.node, left.deadline_ms) == (7, "5a2f", 5)
    assert Preempted(7).told(0.0).startswith("node of a worker is going away (preemption); chec")


def test_nothing_starts_again_after_a_stop(watch):
    stopped = Interrupted(Notice.STOP, 7)
    with pytest.raises(Interrupted, match="after step 7"):
        watch.after_exception(None, {0: BROKEN, 1: Wrapped(stopped)})


@pytest.mark.parametrize(
    ("failures", "rank"),
    [
        ({0: BROKEN, 1: Unhealthy(KILLED)}, 1),
        ({0: BROKEN, 1: Wrapped(ValueError("x"))}, 1),
        ({0: Wrapped(SLOW), 1: Wrapped(BadSampleError("x"))}, 1),
        ({2: BROKEN, 1: BROKEN}, 1),
    ],
)
def test_the_failure_told_is_the_one_that_explains_the_others(failures, rank):
    assert Failure.of(failures).rank == rank


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (KILLED, r"^rank 3: process 4711 on 10\.0\.0\.7 died without a word, as when the kernel"),
        (
            "Task was killed due to the node running low on memory.",
            "^rank 3: process was killed by",
        ),
        ("The actor is dead because its node has died.", "^rank 3: process was lost with its mac"),
    ],
)
def test_a_lost_process_is_one_line_that_names_rank_and_cause(text, message):
    told = _explained({0: BROKEN, 3: Unhealthy(text)})
    assert isinstance(told, Failed)
    assert "\n" not in str(told)
    with pytest.raises(Failed, match=message):
        raise told


def test_memory_that_runs_out_while_workers_start_is_one_line():
    error = ray.train.ControllerError(
        ray.exceptions.OutOfMemoryError("Task was killed due to the node running low on memory.")
    )
    told = explain(error, max_failures=3, storage="s3://b")
    assert isinstance(told, Failed)
    assert str(told).startswith(
        "Ray Train's controller: process was killed by Ray because its machine ran short of memory"
    )


LOADER = RuntimeError("DataLoader worker (pid(s) 4712) exited unexpectedly")


def test_a_lost_decoding_process_is_a_failure_that_names_it(watch, caplog):
    watch.after_exception(None, {0: BROKEN, 1: Wrapped(LOADER)})
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(
        "worker group failed: rank 1: decoding process 4712 died without a word"
    )
    assert line.endswith("lower data.batch_size or data.loader_workers); restart 1 of 2")
    told = _explained({0: BROKEN, 1: Wrapped(LOADER)})
    assert isinstance(told, Failed)
    with pytest.raises(
        Failed, match=r"^rank 1: decoding process 4712 died .*\); the workers fail"
    ):
        raise told
    assert len(caplog.records) == 1  # no traceback


def test_a_lost_controller_is_one_line_that_says_how_to_go_on():
    error = ray.exceptions.RayActorError("5a", KILLED.replace("RayTrainWorker", "TrainController"))
    told = explain(error, max_failures=3, storage="x")
    assert isinstance(told, Failed)
    with pytest.raises(
        Failed,
        match=r"^Ray Train's controller: process 4711 on 10\.0\.0\.7 died without a word.*\); the "
        r"same command goes on from the latest checkpoint$",
    ):
        raise told


ENDING = "; the workers failed 4 times, run.max_failures=3 allows for no more; the same command "


WALL = """[Rank 0,12 Error Snippet]:
Traceback of 0 and 12
RuntimeError: gloo
[Rank 1 Error Snippet]:
Traceback of 1
KeyError: 'x'
"""


def _explained(failures, max_failures=3, text=WALL):
    error = ray.train.WorkerGroupError(text, failures)
    return explain(error, max_failures=max_failures, storage="s3://b/runs")


def test_a_storage_fault_that_stays_is_an_error_of_its_kind_with_the_number_of_restarts():
    told = _explained({0: Wrapped(SLOW)})
    assert type(told) is TransientStorageError
    assert str(told) == f"{SLOW}{ENDING}goes on from the latest checkpoint"
    assert "the workers failed once, run.max_failures=0 all" in str(_explained({0: SLOW}, 0))


@pytest.mark.parametrize(
    ("text", "shown"),
    [(WALL, "Traceback of 1\nKeyError: 'x'"), ("?", "Training failed due to worker errors:\n?")],
)
def test_a_bug_keeps_its_traceback_once(caplog, text, shown):
    told = _explained({0: BROKEN, 1: KeyError("x")}, text=text)
    assert isinstance(told, Failed)
    assert str(told).startswith(
        "rank 1: KeyError: 'x' (see the traceback above, which may be a bug"
    )
    assert ENDING in str(told)
    assert [record.getMessage() for record in caplog.records] == [shown]


def test_a_lost_process_of_ray_train_itself_is_one_line():
    text = KILLED.partition("The actor is dead")[0] + "Owner's node has crashed, it died."
    told = explain(ray.exceptions.RayActorError("5a", text), max_failures=3, storage="x")
    with pytest.raises(
        Failed,
        match=r"^Ray Train's controller: process 4711 on 10\.0\.0\.7 was lost with "
        r"its machine; .*; the same command goes on from the latest checkpoint$",
    ):
        raise told


@pytest.mark.parametrize("of_ray", [ray.train.ControllerError, None])
def test_a_checkpoint_that_ray_cannot_store_is_a_storage_error(of_ray):
    fault = OSError("When initiating upload:\n AWS Error NETWORK_CONNECTION: no connection")
    if of_ray:
        told = explain(of_ray(fault), max_failures=3, storage="s3://b/runs")
    else:
        told = _explained({0: Wrapped(fault)})
    with pytest.raises(
        StorageError,
        match=r"^s3://b/runs: Ray's own files could not be stored or read \(When initiating "
        r"upload: AWS Error NETWORK_CONNECTION: no connection\); check that the storage can be",
    ):
        raise told


def test_what_the_controller_found_is_told_as_it_is_and_a_bug_of_ray_stays_one():
    bad = BadSampleError("bad")
    assert explain(ray.train.ControllerError(bad), max_failures=3, storage="x") is bad
    bug = ray.train.ControllerError(KeyError("x"))
    assert explain(bug, max_failures=3, storage="x") is bug


@pytest.mark.parametrize(
    ("error", "text", "news"),
    [
        (ShardError("damaged"), "Error in control loop iteration: damaged", False),
        (ray.train.ControllerError(ShardError("x")), "[FailurePolicy] RAISE", False),
        (ray.train.WorkerGroupError("wall", {}), "[FailurePolicy] RETRY", False),
        (FRUITLESS[1](2), "Error in control loop iteration: The worker group startup", False),
        (ray.train.ControllerError(FRUITLESS[0]("x")), "[FailurePolicy] RETRY", False),
        (ray.exceptions.RayActorError(), "Graceful shutdown of backend failed.", False),
        (None, "Error in training function:\nTraceback ...", False),
        (ray.train.ControllerError(KeyError("x")), "[FailurePolicy] RAISE", True),
        (None, "Requesting resources: {'CPU': 1.0} * 2", True),
    ],
)
def test_ray_is_kept_from_repeating_what_is_told(error, text, news):
    told = (type(error), error, None) if error else None
    record = logging.LogRecord("ray.train", logging.ERROR, "x.py", 1, text, (), told)
    assert _is_news(record) == news
