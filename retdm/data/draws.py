"""Random words that are a pure function of a key, on every machine and numpy version.

Only the raw words of numpy's Philox generator are used: numpy promises those streams for ever,
while what its distributions make of them may change between versions.
"""

import hashlib
import json
import threading

import numpy as np
import numpy.typing as npt

Key = str | int
# One generator whose state is set anew: to make one takes longer than all the rest of a crop.
_philox = np.random.Philox(key=0)
_unused = _philox.state
_lock = threading.Lock()


def random_words(count: int, *key: Key) -> npt.NDArray[np.uint64]:
    """`count` independent uniform 64-bit words; other keys give unrelated words."""
    # SHA-256 makes neighbouring seeds and epochs unrelated; Philox takes 128 bits of it.
    digest = hashlib.sha256(json.dumps(key).encode()).digest()
    key_words = np.frombuffer(digest, dtype="<u8", count=2)
    with _lock:
        _philox.state = {**_unused, "state": {**_unused["state"], "key": key_words}}
        return _philox.random_raw(count)


def permutation(count: int, *key: Key) -> npt.NDArray[np.int64]:
    """The numbers 0 to `count` - 1 in an order drawn by `key`.

    Example:
        >>> permutation(6, "doc", 0).tolist()
        [3, 1, 2, 5, 4, 0]
    """
    # Stable, so that even equal words (probability count^2 / 2^65) leave one defined order.
    return np.argsort(random_words(count, *key), kind="stable")
