"""Connections to the server of an archive, or to the proxy that the usual variables name."""

from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import HTTPError

from retdm.errors import StorageError


def connections(url: str, *, stall_s: float) -> urllib3.PoolManager:
    """What opens connections for `url`, none of which may be silent for longer than `stall_s`.

    Raises:
        StorageError: If the variable of the proxy is not its address.
    """
    timeout = urllib3.Timeout(connect=stall_s, read=stall_s)
    # Requests are repeated by the caller, where they can continue; urllib3 would start over.
    retries = urllib3.Retry(
        total=10, connect=0, read=0, other=0, status=0, respect_retry_after_header=False
    )
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if proxy is None or proxy_bypass(parts.hostname or ""):
        return urllib3.PoolManager(timeout=timeout, retries=retries)
    try:
        return urllib3.ProxyManager(
            proxy, proxy_headers=_who(proxy), timeout=timeout, retries=retries
        )
    except (ValueError, HTTPError):  # its text may hold a password
        raise StorageError(
            f"{parts.scheme.upper()}_PROXY is not the address of a proxy; write it as "
            "http://HOST:PORT or http://USER:PASSWORD@HOST:PORT, or unset it"
        ) from None


def _who(proxy: str) -> dict[str, str]:
    """Headers that name the user."""
    user, secret = urlsplit(proxy).username, urlsplit(proxy).password or ""
    headers: dict[str, str] = urllib3.make_headers(
        proxy_basic_auth=f"{unquote(user)}:{unquote(secret)}" if user else None
    )
    return headers
