"""The containers that Ray starts on the machines of cluster/aws.yaml."""

from pathlib import Path

import pytest
import yaml

from tests.cluster.filled import filled

CONFIG = yaml.safe_load(filled(Path(__file__).resolve().parents[2] / "cluster/aws.yaml"))


class _Machine:
    """Ray's way to a machine by ssh: keeps what is run, answers as Docker and the driver would."""

    ssh_user, cluster_name = CONFIG["auth"]["ssh_user"], CONFIG["cluster_name"]

    def __init__(self, *, runtimes):
        self.answers = {
            "command -v docker": "/usr/bin/docker",
            "Runtimes": runtimes,
            "Config.Env": "[]",
            "meminfo": "MemAvailable: 9 kB",
        }
        self.ran = []

    def run(self, command, **_):
        self.ran.append(command)
        return next((text for part, text in self.answers.items() if part in command), "").encode()


def _started(*, as_head, runtimes):
    """The `docker run` by which Ray would start a node's container there."""
    from ray.autoscaler._private.command_runner import DockerCommandRunner

    names = ("log_prefix", "node_id", "provider", "process_runner")
    runner = DockerCommandRunner(
        CONFIG["docker"], auth_config=CONFIG["auth"], cluster_name=CONFIG["cluster_name"],
        use_internal_ip=False, **dict.fromkeys(names),
    )  # fmt: skip
    runner.ssh_command_runner = machine = _Machine(runtimes=runtimes)
    runner.run_init(as_head=as_head, file_mounts={}, sync_run_yet=True)
    [command] = [line for line in machine.ran if line.startswith("docker run ")]
    return command.split()


@pytest.mark.parametrize("runtimes", ["map[runc:{}]", "map[nvidia:{nvidia-container-runtime []}]"])
def test_workers_are_given_their_gpus_whatever_docker_lists_and_the_head_none(runtimes):
    head, worker = (_started(as_head=one, runtimes=runtimes) for one in (True, False))
    assert "--gpus=all" in worker
    assert ("--runtime=nvidia" in worker) == ("nvidia" in runtimes)
    assert "--gpus=all" not in head
    assert "--env=RAY_JOB_STOP_WAIT_TIME_S=120" in head
