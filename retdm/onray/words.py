"""What a program and its runs tell one another, in Ray's key-value store.

The words are a few bytes for each job that was stopped; no later job has its number.
"""

import ray
from ray.experimental import internal_kv

_NAMESPACE = b"retdm"
_ANSWER_S = 10.0
"""For Ray's head to answer. Without a limit, Ray waits for a lost one, deaf to signals, and ends
the process after a minute."""


class Words:
    """What the driver and its runs tell one another, in Ray's key-value store."""

    def __init__(self) -> None:
        """Of this job alone: the driver's and its workers', however many runs it has."""
        # Not by `internal_kv`'s functions: in a process that Ray is just ending, they would
        # start a Ray of their own.
        self._store = internal_kv.internal_kv_get_gcs_client()
        self._job = ray.get_runtime_context().get_job_id()

    def put(self, word: str, value: str = "") -> None:
        """Say a word.

        Raises:
            RpcError: If Ray's head does not answer, as in `get`.
        """
        self._store.internal_kv_put(
            self._key(word), value.encode(), True, _NAMESPACE, timeout=_ANSWER_S
        )

    def take_back(self, word: str) -> None:
        """Let a word be as if it had not been said."""
        self._store.internal_kv_del(self._key(word), False, _NAMESPACE, timeout=_ANSWER_S)

    def get(self, word: str) -> str | None:
        """What was said; None if nothing was."""
        value = self._store.internal_kv_get(self._key(word), _NAMESPACE, timeout=_ANSWER_S)
        return None if value is None else str(value, "utf-8")

    def _key(self, word: str) -> bytes:
        return f"{self._job} {word}".encode()
