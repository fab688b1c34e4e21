"""What an S3 failure means for the person at the keyboard."""

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
)

from retdm.errors import StorageError, TransientStorageError

_WRONG_KEY = {
    "SignatureDoesNotMatch",
    "InvalidAccessKeyId",
    "InvalidToken",
    "ExpiredToken",
    "AuthorizationHeaderMalformed",
}
_DENIED = {"AccessDenied", "403", "Forbidden", "AllAccessDisabled"}
_BUSY = {
    *("SlowDown", "Throttling", "ThrottlingException", "TooManyRequests", "RequestTimeout"),
    *("ServiceUnavailable", "InternalError"),
}
BROKEN = (ConnectionError, HTTPClientError, IncompleteReadError)
"""Failures of the connection rather than of the request; worth trying again."""
_VARIABLES = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


def is_absent(error: ClientError) -> bool:
    """Whether the server said that the object, or with HEAD perhaps the bucket, is missing."""
    return _code(error) in {"NoSuchKey", "404", "NotFound"}


def explain(
    error: ClientError | BotoCoreError, url: str, bucket: str, endpoint: str | None
) -> StorageError:
    """An error that says what was found at `url` and what to do; never shows a secret."""
    server = endpoint or "Amazon S3"
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return StorageError(f"{url}: no S3 credentials found; set {_VARIABLES}")
    if isinstance(error, BROKEN):
        return TransientStorageError(
            f"{url}: cannot reach {server} ({type(error).__name__}); check that the server runs, "
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
    if code in {"InvalidRange", "416"}:
        return StorageError(
            f"{url}: the object ends before the range asked for, so it is shorter than its index "
            "says; upload or build it again"
        )
    if code == "RequestTimeTooSkewed":
        return StorageError(
            f"{url}: {server} refused the time of this machine ({code}); set its clock"
        )
    answer = f"{url}: {server} answered {code}: {error.response['Error'].get('Message', '')}"
    if _is_busy(error):
        return TransientStorageError(f"{answer}; try again later")
    return StorageError(f"{answer}; check the URL and the AWS settings")


def _is_busy(error: ClientError) -> bool:
    """Whether the server failed, rather than the request; 501 is "not implemented"."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return _code(error) in _BUSY or status == 429 or (status >= 500 and status != 501)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "unknown"))
