"""How logs and errors show an address: without the parts that may be secret."""

import re

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)(?:.*@)?([^?]*)(\?.*)?", re.DOTALL)


def shown_url(url: str) -> str:
    """The address with `***` for user name and password, and for its query; others as they are.

    All before the last `@` is left out, since passwords are pasted with slashes in them.

    Example:
        >>> shown_url("https://me:secret@host/a.zip?signature=123")
        'https://***@host/a.zip?***'
        >>> shown_url("s3://bucket/prefix")
        's3://bucket/prefix'
    """
    match = _ADDRESS.fullmatch(url)
    if match is None:
        return url
    who = "***@" if "@" in url else ""
    return f"{match[1]}{who}{match[2]}{'?***' if match[3] else ''}"
