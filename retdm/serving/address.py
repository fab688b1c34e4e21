"""Where the service listens: whether that is free, and who can reach it."""

import ipaddress
import socket

from retdm.errors import ConfigError


def check_free(host: str, port: int) -> None:
    """Refuse an address at which nothing can listen on this machine.

    Raises:
        ConfigError: If another program does, or it is none of this machine.
    """
    try:
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(address)
            # Two may be bound to one port for a while, but not listen there.
            one.listen()
    except (OSError, UnicodeError) as error:  # of a name that no host can have: a..b
        reason = error.strerror if isinstance(error, OSError) else None
        raise ConfigError(
            f"--host {host} --port {port}: cannot listen there ({reason or error}); give "
            "a free port (--port), and an address of this machine"
        ) from error


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine can reach it.

    Example:
        >>> [is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "gpu7")]
        [True, True, True, False, False]
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def in_url(host: str) -> str:
    """A host as URLs have it.

    Example:
        >>> in_url("::1"), in_url("127.0.0.1")
        ('[::1]', '127.0.0.1')
    """
    return f"[{host}]" if ":" in host else host
