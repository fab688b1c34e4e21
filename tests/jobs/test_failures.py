"""Which failures of workers end a run at once, and which Ray Train may try again."""

import pytest

from retdm.errors import ShardError, TransientStorageError
from retdm.onray.launch import _StopOnUserError


class Wrapped(Exception):
    """As Ray hands a worker's exception to the controller."""

    def __init__(self, cause):
        super().__init__(str(cause))
        self._base_exc = cause


@pytest.mark.parametrize("wrap", [lambda error: error, Wrapped])
def test_what_the_user_must_mend_is_final(wrap):
    failures = {0: RuntimeError("connection reset by peer"), 1: wrap(ShardError("damaged"))}
    with pytest.raises(ShardError, match="damaged"):
        _StopOnUserError().after_exception(None, failures)


@pytest.mark.parametrize("error", [TransientStorageError("slow down"), MemoryError()])
def test_what_may_pass_is_left_to_the_restarts(error):
    _StopOnUserError().after_exception(None, {0: Wrapped(error)})
