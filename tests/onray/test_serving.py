"""Starting and ending a service, without a Ray."""

import asyncio
import io
import os
import signal
import weakref
from contextlib import nullcontext
from dataclasses import replace

import pytest
from PIL import Image

import retdm
from retdm.console import Failed, Stopped
from retdm.errors import BadSampleError, ConfigError
from retdm.onray import serving
from retdm.onray.serving import Replica, Service, run_service
from tests.trained import trained

__all__ = ["trained"]


@pytest.fixture
def done(monkeypatch):
    """What was done of Ray's: a cluster with 4 cores and no GPU, on which all succeeds."""
    done = []

    def note(name):
        return lambda *_, **options: done.append((name, options))

    monkeypatch.setattr(serving.ray, "init", note("init"))
    monkeypatch.setattr(serving.ray, "shutdown", note("shutdown"))
    monkeypatch.setattr(serving.ray, "cluster_resources", lambda: {"CPU": 4.0})
    monkeypatch.setattr(serving.ray.util, "list_named_actors", lambda all_namespaces: [])
    monkeypatch.setattr(serving, "owned", lambda _: nullcontext(True))
    monkeypatch.setattr(serving.serve, "start", note("serve.start"))
    monkeypatch.setattr(serving.serve, "delete", note("serve.delete"))
    monkeypatch.setattr(serving.serve, "shutdown", note("serve.shutdown"))
    return done


@pytest.fixture
def service(trained):
    sizes = {"replicas": 1, "cpus": 1, "max_batch": 4, "max_images": 2, "max_image_bytes": 9}
    sizes |= {"max_image_pixels": 2000}
    return Service(trained.run("bce"), "best", "127.0.0.1", 8000, batch_wait_ms=5, **sizes)


def test_a_replica_decodes_by_as_many_threads_as_it_has_cores_and_no_larger_images(
    service, monkeypatch
):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # and back
    monkeypatch.setattr(serving.serve, "batch", lambda **_: lambda score: score)
    seen = []
    monkeypatch.setattr(serving, "build_app", lambda *parts: seen.extend(parts))
    Replica(replace(service, cpus=3)).__serve_build_asgi_app__()
    scoring, _, limits = seen
    assert (scoring.model.threads, limits.image_pixels) == (3, 2000)
    asyncio.run(scoring.decode(_png(200, 10)))
    with pytest.raises(BadSampleError, match=r"\(201x10 pixels, .* at most 2000 are decoded\)"):
        asyncio.run(scoring.decode(_png(201, 10)))


def _png(width, height):
    content = io.BytesIO()
    Image.new("RGB", (width, height)).save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_serve_and_then_ray(done, service, monkeypatch, caplog, sent):
    monkeypatch.setattr(serving, "_LOOK_EVERY_S", 0)
    before = signal.getsignal(sent)

    def told(text, *_):
        os.kill(os.getpid(), sent)

    monkeypatch.setattr(serving.serve, "run", lambda *_, **__: None)
    monkeypatch.setattr(serving.log, "info", told)
    with pytest.raises(Stopped, match=f"^stopped by {sent.name}$") as stopped:
        run_service(service)
    assert stopped.value.status == 128 + sent
    assert [name for name, _ in done] == [
        *("init", "serve.start", "serve.delete", "serve.shutdown", "shutdown")
    ]
    assert signal.getsignal(sent) is before


def test_a_service_that_does_not_come_up_says_the_last_line_and_leaves_nothing(
    done, service, monkeypatch
):
    def fail(*_, **__):
        raise RuntimeError("Traceback\n  File x\nCheckpointError: s3://b/run: no model here\n")

    monkeypatch.setattr(serving.serve, "run", fail)
    with pytest.raises(
        Failed,
        match=r"^Ray Serve did not come up: CheckpointError: s3://b/run: no model here; Ray's",
    ):
        run_service(service)
    assert [name for name, _ in done][-2:] == ["serve.shutdown", "shutdown"]


def test_all_replicas_take_what_was_best_at_the_start(done, service, monkeypatch):
    bound = []

    def run(application, **_):
        bound.append(application)
        raise Stopped("enough", signal.SIGTERM)

    monkeypatch.setattr(serving, "_application", lambda service, _: service)
    monkeypatch.setattr(serving.serve, "run", run)
    with pytest.raises(Stopped):
        run_service(service)
    assert [one.checkpoint for one in bound] == ["stage3-epoch001"]


def test_the_program_does_not_keep_the_model_that_it_looked_at(done, service, monkeypatch):
    loaded = []

    def load(*words, **options):
        model = retdm.load(*words, **options)
        loaded.append(weakref.ref(model))
        return model

    def run(*_, **__):
        assert [one() for one in loaded] == [None]
        raise Stopped("enough", signal.SIGTERM)

    monkeypatch.setattr(serving, "load", load)
    monkeypatch.setattr(serving.serve, "run", run)
    with pytest.raises(Stopped, match="enough"):
        run_service(service)


def test_replicas_on_any_node_have_cores_and_threads_that_wait_without_computing(
    done, service, monkeypatch
):
    given = []

    def run(application, **_):
        given.append(application._bound_deployment.ray_actor_options)
        raise Stopped("enough", signal.SIGTERM)

    monkeypatch.setattr(serving.serve, "run", run)
    with pytest.raises(Stopped, match="enough"):
        run_service(replace(service, cpus=2))
    [options] = given
    assert (options["num_cpus"], options["num_gpus"]) == (2, 0)
    assert options["runtime_env"] == {"env_vars": {"OMP_WAIT_POLICY": "PASSIVE"}}


def test_a_cluster_where_serve_runs_is_refused_and_left_as_it_is(done, service, monkeypatch):
    others = [{"name": "SERVE_CONTROLLER_ACTOR", "namespace": "serve"}]
    monkeypatch.setattr(serving.ray.util, "list_named_actors", lambda all_namespaces: others)
    with pytest.raises(ConfigError, match=r"^Ray Serve runs on this cluster already, "):
        run_service(service)
    assert [name for name, _ in done] == ["init", "shutdown"]


def test_a_cluster_where_another_service_just_starts_is_refused_and_left_as_it_is(
    done, service, monkeypatch
):
    monkeypatch.setattr(serving, "owned", lambda _: nullcontext(False))
    with pytest.raises(ConfigError, match=r"^Ray Serve runs on this cluster already, "):
        run_service(service)
    assert [name for name, _ in done] == ["init", "shutdown"]


@pytest.mark.parametrize("address", [None, "local"])
def test_more_replicas_than_this_machine_has_room_for_are_refused(
    done, service, monkeypatch, address
):
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(
        ConfigError,
        match=r"^--replicas 3 of --cpus 2 need 6 CPU cores, Ray on this machine has 4; ask for",
    ):
        run_service(replace(service, replicas=3, cpus=2))
    assert [name for name, _ in done] == ["init", "shutdown"]


def test_a_cluster_may_grow(done, service, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setattr(serving.serve, "run", lambda *_, **__: os.kill(os.getpid(), 15))
    with pytest.raises(Stopped):
        run_service(replace(service, replicas=9))


def test_http_servers_take_as_many_requests_as_replicas_work_on_and_wait(service):
    limits = replace(service, replicas=3, max_batch=8).limits
    assert (limits.requests, limits.images, limits.image_bytes) == (2 * 3 * 32, 2, 9)
    assert replace(service, max_batch=1).limits.requests == 2 * 16  # enough without batches, too
