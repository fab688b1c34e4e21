"""Every error that retdm raises on purpose.

A message says what was found, what was wanted, and what to do about it. Programs print it and
exit with status 2; anything else that escapes is a bug and keeps its traceback.
"""

_SHOWN = 200


def shown(value: object) -> str:
    """A value from a file as an error shows it: not all of it if it is long.

    Example:
        >>> shown("a"), shown(10**5000)
        ("'a'", 'a very long int')
    """
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits; lists in lists in ...
        return f"a very long {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


class RetdmError(Exception):
    """Base of all deliberate errors; `except RetdmError` never hides a bug."""


class ConfigError(RetdmError, ValueError):
    """A setting is missing, unknown or out of range; names its dotted key."""


class DatasetError(RetdmError):
    """Annotation files or photos are not what a reader expects; names file, row and value."""


class StorageError(RetdmError):
    """A file or object could not be read or written; names its URL."""


class TransientStorageError(StorageError):
    """The storage did not answer in time; trying again later may help."""


class ShortFileError(StorageError):
    """A file or object ends before the bytes that were asked for."""


class NotFoundError(StorageError):
    """The file or object does not exist."""


class ShardError(RetdmError):
    """A shard set is missing or disagrees with its manifest; names shard and sample."""


class BadSampleError(ShardError):
    """One image cannot be decoded, or its bytes are not those that were packed."""


class CheckpointError(RetdmError):
    """A run or checkpoint is missing, damaged, or made for other data."""


class DivergenceError(RetdmError):
    """The loss or the scores are not finite numbers; names stage, step and loss part."""
