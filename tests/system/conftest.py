"""A network of hosts, and an S3 server on it, for tests in which cables and machines fail."""

import pytest
import s3_server

from tests.system import hosts


@pytest.fixture(scope="module")
def network():
    """Without hosts yet; where there can be none, without root for example, tests are skipped."""
    if reason := hosts.missing():
        pytest.skip(reason)
    with hosts.Network() as network:
        yield network


@pytest.fixture(scope="module")
def server(network):
    """Folder and environment of an S3 server on the bridge; AWS_* variables point at it."""
    folder = network.folder / "s3"
    environment = s3_server.start(folder, bucket="tests", tied=True, address=network.ip)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield folder, environment
    s3_server.stop(folder)
