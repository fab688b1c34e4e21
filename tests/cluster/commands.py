"""What a job's entrypoint asks for, read by the program's own command line and settings."""

import argparse
import contextlib
import dataclasses
import importlib
import io
import os
import shlex
from dataclasses import dataclass
from unittest import mock

from retdm.config import Config, load_config, load_search, parse
from retdm.errors import RetdmError
from retdm.onray.workers import Workers
from retdm.shard.__main__ import _parser as shard_parser
from retdm.shard.spec import load_spec
from tests.cluster.manifests import ROOT, Cluster, Document, ray_container
from tests.cluster.weights import num_weights

_SHELL = set(";&|<>$`\\\"'*?[](){}~#!\n")
_RUNS = ("train", "tune", "compare")


class Refused(Exception):
    """The program would not take the command; says why."""


@dataclass(frozen=True)
class Command:
    """A command that its program takes."""

    given: argparse.Namespace
    configs: list[Config] = dataclasses.field(default_factory=list)
    """Of the runs that it makes; none for `python -m retdm.shard`."""
    workers: Workers = dataclasses.field(default_factory=lambda: Workers(1, 1))
    """Of each run."""
    at_once: int = 1
    """Runs at the same time."""


def environment(cluster: Cluster, documents: list[Document]) -> dict[str, str]:
    """What the head's pod has from ConfigMaps, and in plain sight."""
    container = ray_container(cluster.head)
    names = [one["configMapRef"]["name"] for one in container["envFrom"] if "configMapRef" in one]
    out: dict[str, str] = {}
    for document in documents:
        if document["kind"] == "ConfigMap" and document["metadata"]["name"] in names:
            out |= document["data"]
    return out | {one["name"]: one["value"] for one in container["env"] if "value" in one}


def commands_on(cluster: Cluster, documents: list[Document]) -> list[Command]:
    """What is to run on a cluster: its job, or for a standing one any with the defaults."""
    if cluster.job is None:
        return [Command(None, [Config()])]
    try:
        return [read(cluster.job["spec"]["entrypoint"], environment(cluster, documents))]
    except Refused:  # another check says so
        return []


def read(entrypoint: str, env: dict[str, str]) -> Command:
    """Read an entrypoint as the job's program would, in the environment of its pod.

    Raises:
        Refused: If the submitter's shell would change it, or the program refuse it.
    """
    if signs := sorted(_SHELL & set(entrypoint)):
        raise Refused(f"{' '.join(signs)} in {entrypoint!r} is read by the submitter's shell")
    match shlex.split(entrypoint):
        case ["python", "-m", "retdm.shard", *arguments]:
            return _shard(arguments)
        case ["python", program, *arguments] if program in [f"jobs/{name}.py" for name in _RUNS]:
            return _run(program[5:-3], arguments, env)
    raise Refused(f"{entrypoint!r} starts none of our programs")


def _shard(arguments: list[str]) -> Command:
    given = _parsed(shard_parser(), arguments)
    try:
        load_spec(ROOT / given.spec, getattr(given, "set", []))
    except RetdmError as error:
        raise Refused(str(error)) from None
    return Command(given)


def _run(name: str, arguments: list[str], env: dict[str, str]) -> Command:
    with mock.patch.dict(os.environ, env):
        given = _parsed(importlib.import_module(f"jobs.{name}").parser(), arguments)
    try:
        workers = Workers.parse(given.workers)
        configs = _configs(name, given)
        for config in configs:
            num_weights(config)
    except RetdmError as error:
        raise Refused(str(error)) from None
    for config in configs:
        if not config.data.url:
            raise Refused("data.url is empty")
    return Command(given, configs, workers, at_once=getattr(given, "concurrency", 1) or 1)


def _configs(name: str, given: argparse.Namespace) -> list[Config]:
    recipe = str(ROOT / given.recipe)
    if name == "train":
        return [load_config(recipe, given.set)]
    if name == "compare":
        from retdm.onray.compare_plan import plan_columns

        columns = plan_columns(recipe, given.methods.split(","), given.variant, given.set)
        return [column.config for column in columns]
    table, tune = load_search(recipe, given.set)
    if not tune.space:
        raise Refused(f"{given.recipe} says nothing of what to search")
    return [parse(Config, table, source=recipe)]


def _parsed(parser: argparse.ArgumentParser, arguments: list[str]) -> argparse.Namespace:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return parser.parse_args(arguments)
    except SystemExit:
        raise Refused(said.getvalue().strip().splitlines()[-1]) from None
