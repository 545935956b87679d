"""Servers for the contract suites."""

from collections.abc import Iterator
from itertools import count

import pytest

from hypernet.storage.s3 import S3Objects, Server
from tests.s3_server import running_server


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real S3 server: the one that `HYPERNET_TEST_S3_URL` names, else one of our own on loopback."""
    with running_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


_NUMBERS = count()


@pytest.fixture
def s3_buckets(s3_server: Server) -> Iterator[Iterator[Server]]:
    """Empty places in one bucket, as many as are asked for."""
    from dataclasses import replace

    objects = S3Objects(s3_server)
    objects.make_bucket()
    objects.close()
    yield (replace(s3_server, prefix=f"test-{next(_NUMBERS)}/") for _ in count())
