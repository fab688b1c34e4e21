"""Addresses that a service can listen at."""

import socket

import pytest

from retdm.errors import ConfigError
from retdm.serving.address import check_free, in_url


@pytest.mark.parametrize("shared", [False, True], ids=["alone", "shared"])
def test_a_port_where_another_program_listens_is_refused(shared):
    with socket.socket() as other:
        if shared:  # as Ray Serve's own server listens
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(
            ConfigError,
            match=rf"^--host 127\.0\.0\.1 --port {port}: cannot listen there "
            r"\(Address already in use\); give a free port \(--port\), and an address",
        ):
            check_free("127.0.0.1", port)
    check_free("127.0.0.1", port)


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid", "a..b", "a" * 70])
def test_an_address_of_another_machine_is_refused(host):
    with pytest.raises(ConfigError, match=f"^--host {host} --port 8000: cannot listen there "):
        check_free(host, 8000)


def test_a_host_of_ipv6_stands_in_brackets():
    assert in_url("::") == "[::]"
