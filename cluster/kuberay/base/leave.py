"""Lets training write a checkpoint before its pod ends; Kubernetes calls it (preStop).

Of itself Ray hears nothing before SIGTERM, at which a node's processes end at once. `worker` tells
Ray that this node is being taken back: runs hear of that as of any spot machine. `head` stops the
jobs as `ray job stop` does. Both return when that is done, or after the given seconds, and the
pod's terminationGracePeriodSeconds has to be longer.
"""

import argparse
import os
import socket
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

_LOOK_EVERY_S = 0.5
_CONNECT_S = 5.0


def main() -> int:
    """Leave as part of the cluster that the command line names."""
    parser = argparse.ArgumentParser(prog="leave.py", description=__doc__)
    parser.add_argument("part", choices=["worker", "head"])
    parser.add_argument("seconds", type=int, help="until the pod ends")
    parser.add_argument("--port", type=int, default=8265, help="of the head's dashboard")
    given = parser.parse_args()
    until = time.time() + given.seconds
    if given.part == "worker":
        drain(os.environ["RAY_ADDRESS"], until)
    else:
        stop_jobs(f"http://127.0.0.1:{given.port}", until)
    return 0


def drain(address: str, until: float) -> None:
    """Tell Ray's head that this pod's node goes, and wait until Ray has ended it.

    Args:
        address: HOST:PORT of the head.
        until: When the pod ends, seconds since 1970.
    """
    from ray._private.services import find_node_ids
    from ray._raylet import GcsClient  # type: ignore[attr-defined]
    from ray.core.generated.autoscaler_pb2 import DrainNodeReason

    nodes = find_node_ids()
    if not nodes or not _answers(address):
        return  # Ray has ended the node already, as when it needs fewer; or the head is gone
    why = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    for node in nodes:
        accepted, reason = GcsClient(address=address).drain_node(
            node, why, f"pod {socket.gethostname()} ends", int(1000 * until)
        )
        print(f"node {node[:12]}: {'drains' if accepted else reason}", file=sys.stderr)
    while time.time() < until and find_node_ids():
        time.sleep(_LOOK_EVERY_S)


def stop_jobs(dashboard: str, until: float) -> None:
    """Stop all jobs and wait until they have ended.

    Args:
        dashboard: URL of the head's dashboard.
        until: When the pod ends, seconds since 1970.
    """
    from ray.job_submission import JobSubmissionClient

    client = JobSubmissionClient(dashboard)
    for job in _running(client):
        print(f"job {job}: told to stop", file=sys.stderr)
        client.stop_job(job)
    while time.time() < until and _running(client):
        time.sleep(_LOOK_EVERY_S)


def _running(client: "JobSubmissionClient") -> list[str]:
    """Submission ids of jobs that have not ended."""
    return [job.submission_id for job in client.list_jobs() if not job.status.is_terminal()]


def _answers(address: str) -> bool:
    """Whether the head takes connections; Ray itself would wait a minute for a lost one."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
