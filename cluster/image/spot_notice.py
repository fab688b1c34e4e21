"""Tells Ray of EC2's notice, two minutes before, that it takes a spot machine back.

Ray does not ask EC2 for it. Runs on the machine hear of it as of `ray drain-node`: they write a
checkpoint, and go on elsewhere. `ray up` starts this on every worker (cluster/aws.yaml); it ends
behind the notice, or with the machine.
"""

import argparse
import json
import sys
import time
import urllib.request
from datetime import datetime
from urllib.error import HTTPError

_METADATA = "http://169.254.169.254"
_ASK_EVERY_S = 5.0  # as Amazon recommends
_ANSWER_S = 2.0
_TOKEN_S = 300


def main() -> int:
    """Wait for the notice and hand it on."""
    parser = argparse.ArgumentParser(prog="spot_notice.py", description=__doc__)
    parser.add_argument("head", metavar="HOST:PORT", help="Ray's head")
    parser.add_argument("--metadata", default=_METADATA, metavar="URL", help="EC2's service")
    given = parser.parse_args()
    until = wait_for_notice(given.metadata)
    return 0 if hand_on(given.head, until) else 1


def wait_for_notice(metadata: str, *, every_s: float = _ASK_EVERY_S) -> float:
    """Ask again and again until there is a notice; when the machine goes, seconds since 1970."""
    while (until := notice(metadata)) is None:
        time.sleep(every_s)
    return until


def notice(metadata: str) -> float | None:
    """When this machine goes, seconds since 1970; None if nothing is known of that.

    A service that does not answer knows nothing either: it is asked again.
    """
    life = {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_S)}
    try:
        token = _ask(f"{metadata}/latest/api/token", life, method="PUT")
        shown = {"X-aws-ec2-metadata-token": token}
        answer = json.loads(_ask(f"{metadata}/latest/meta-data/spot/instance-action", shown))
        return datetime.fromisoformat(answer["time"]).timestamp()
    except HTTPError as error:
        if error.code != 404:  # which means: no notice
            print(f"{metadata}: {error}; asking again", file=sys.stderr)
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"{metadata}: {type(error).__name__}: {error}; asking again", file=sys.stderr)
    return None


def _ask(url: str, headers: dict[str, str], *, method: str = "GET") -> str:
    request = urllib.request.Request(url, headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=_ANSWER_S) as answer:
        text: str = answer.read(10_000).decode()
    return text


def hand_on(head: str, until: float, *, every_s: float = _ASK_EVERY_S) -> bool:
    """Tell Ray's head of the notice until it is taken, or the machine goes.

    Args:
        head: HOST:PORT.
        until: When it goes, seconds since 1970.
        every_s: Between a call that failed and the next. Ray gives one up after 40 seconds.

    Returns:
        Whether it was taken.
    """
    while True:
        try:
            if drain(head, until):
                return True
        except Exception as error:  # whichever it is: nobody else tells the head
            print(f"{head}: {type(error).__name__}: {error}", file=sys.stderr)
        if time.time() + every_s >= until:
            print(f"{head}: took no notice in time; runs lose this machine", file=sys.stderr)
            return False
        print("telling the head again", file=sys.stderr)
        time.sleep(every_s)


def drain(head: str, until: float) -> bool:
    """Tell Ray's head once that the nodes of this machine go.

    Args:
        head: HOST:PORT.
        until: When they go, seconds since 1970.

    Returns:
        Whether there are nodes, and all of them drain.

    Raises:
        RpcError: If the head does not answer.
    """
    from ray._private.services import find_node_ids
    from ray._raylet import GcsClient  # type: ignore[attr-defined]
    from ray.core.generated.autoscaler_pb2 import DrainNodeReason

    why = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    nodes = find_node_ids()
    drained = bool(nodes)
    for node in nodes:
        accepted, reason = GcsClient(address=head).drain_node(
            node, why, "EC2 takes the spot machine back", int(1000 * until)
        )
        drained &= accepted
        print(f"node {node[:12]}: {'drains' if accepted else reason}", file=sys.stderr)
    return drained


if __name__ == "__main__":
    sys.exit(main())
