"""What an S3 failure means: whether it may pass, and what the person at the keyboard can do."""

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ProxyConnectionError,
    SSLError,
)
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from retdm.errors import ShortFileError, StorageError, TransientStorageError

_WRONG_KEY = {
    *("SignatureDoesNotMatch", "InvalidAccessKeyId", "InvalidToken", "ExpiredToken"),
    *("ExpiredTokenException", "TokenRefreshRequired", "AuthorizationHeaderMalformed"),
}
_DENIED = {"AccessDenied", "403", "Forbidden", "AllAccessDisabled"}
_BUSY = {
    *("SlowDown", "Throttling", "ThrottlingException", "TooManyRequests", "RequestTimeout"),
    *("ServiceUnavailable", "InternalError"),
    # What was sent arrived damaged.
    *("BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody"),
}
_BROKEN = (
    *(ConnectionError, HTTPClientError, IncompleteReadError),
    ResponseParserError,  # an answer whose XML arrived damaged
    HTTPError,  # botocore lets those of an error's own body through
)
"""Failures of the connection rather than of the request."""
_UNREACHED = (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError, SSLError)
FAILURES = (ClientError, BotoCoreError, HTTPError)
"""All that a call may raise."""
_VARIABLES = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


def is_absent(error: Exception) -> bool:
    """Whether the server said that the object, or with HEAD perhaps the bucket, is missing."""
    return _code(error) in {"NoSuchKey", "404", "NotFound"}


def is_beyond(error: Exception) -> bool:
    """Whether the object ends before the range asked for."""
    return _code(error) in {"InvalidRange", "416"}


def is_changed(error: Exception) -> bool:
    """Whether the object, or the upload, is no longer the one that the call is about."""
    return _code(error) in {"PreconditionFailed", "412", "NoSuchUpload"}


def passes(error: Exception) -> bool:
    """Whether the same call may succeed later."""
    return isinstance(error, _BROKEN) or _is_busy(error)


def refuses(error: Exception) -> bool:
    """Whether other credentials may help."""
    missing = isinstance(error, NoCredentialsError | CredentialRetrievalError)
    return missing or _code(error) in _WRONG_KEY | _DENIED


def explain(
    error: Exception, url: str, bucket: str, endpoint: str | None, *, tried: str
) -> StorageError:
    """An error that says what was found at `url` and what to do; never shows a secret.

    Args:
        error: One of `FAILURES`.
        url: Of the object.
        bucket: Its name.
        endpoint: None means Amazon's.
        tried: How long, for failures that may pass.
    """
    server = endpoint or "Amazon S3"
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return StorageError(f"{url}: no S3 credentials found; set {_VARIABLES}")
    if isinstance(error, _BROKEN):
        problem = "cannot reach" if isinstance(error, _UNREACHED) else "lost the connection to"
        return TransientStorageError(
            f"{url}: {problem} {server} ({_cause(error)}; {tried}); check that the server runs, "
            "the network, and AWS_ENDPOINT_URL"
        )
    if not isinstance(error, ClientError):
        return StorageError(f"{url}: {error}; check the AWS settings")
    code = _code(error)
    if code == "NoSuchBucket" or is_absent(error):
        return StorageError(
            f"{url}: bucket {bucket!r} does not exist on {server}; create it, or correct the "
            "bucket name or AWS_ENDPOINT_URL"
        )
    if code in _WRONG_KEY:
        return StorageError(
            f"{url}: {server} refused the credentials ({code}); correct {_VARIABLES}"
        )
    if code in _DENIED:
        return StorageError(
            f"{url}: {server} denied access ({code}); correct {_VARIABLES}, or ask for rights on "
            f"bucket {bucket!r}"
        )
    if is_beyond(error):
        return ShortFileError(
            f"{url}: the object ends before the range asked for, so it is shorter than its index "
            "says; upload or build it again"
        )
    if code == "RequestTimeTooSkewed":
        return StorageError(
            f"{url}: {server} refused the time of this machine ({code}); set its clock"
        )
    answer = f"{url}: {server} answered {code}: {error.response['Error'].get('Message', '')}"
    if _is_busy(error):
        return TransientStorageError(f"{answer} ({tried}); try again later")
    return StorageError(f"{answer}; check the URL and the AWS settings")


def _is_busy(error: Exception) -> bool:
    """Whether the server failed, rather than the request; 501 is "not implemented"."""
    if not isinstance(error, ClientError):
        return False
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return _code(error) in _BUSY or status == 429 or (status >= 500 and status != 501)


def _code(error: Exception) -> str:
    if not isinstance(error, ClientError):
        return ""
    return str(error.response.get("Error", {}).get("Code", "unknown"))


def _cause(error: Exception) -> str:
    """The kind of failure, with the operating system's words for it if there are any."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            return f"{type(error).__name__}: {inner.strerror}"
        inner = inner.__cause__ or inner.__context__
    return type(error).__name__
