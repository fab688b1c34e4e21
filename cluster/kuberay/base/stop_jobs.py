"""Stops the jobs of a head whose pod ends, as `ray job stop` does; Kubernetes calls it (preStop).

Of itself a head ends its jobs' programs at once, without the time for a checkpoint. Returns when
they have ended, or after the given seconds; the pod's terminationGracePeriodSeconds has to be
longer. Workers need nothing of the kind: Ray drains a node at SIGTERM.
"""

import argparse
import sys
import time

from ray.job_submission import JobSubmissionClient

_LOOK_EVERY_S = 0.5


def main() -> int:
    """Stop all jobs and wait until they have ended."""
    parser = argparse.ArgumentParser(prog="stop_jobs.py", description=__doc__)
    parser.add_argument("seconds", type=int, help="to wait at the most")
    parser.add_argument("--port", type=int, default=8265, help="of the head's dashboard")
    given = parser.parse_args()
    until = time.monotonic() + given.seconds
    client = JobSubmissionClient(f"http://127.0.0.1:{given.port}")
    for job in _running(client):
        print(f"job {job}: told to stop", file=sys.stderr)
        client.stop_job(job)
    while time.monotonic() < until and _running(client):
        time.sleep(_LOOK_EVERY_S)
    return 0


def _running(client: JobSubmissionClient) -> list[str]:
    """Submission ids of jobs that have not ended."""
    jobs = client.list_jobs()
    return [
        job.submission_id for job in jobs if job.submission_id and not job.status.is_terminal()
    ]


if __name__ == "__main__":
    sys.exit(main())
