"""Servers for the contract suites."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from uuid import uuid4

import pytest

from hypernet.storage.s3 import S3Objects, Server
from tests.s3_server import running_server


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real S3 server: the one that `HYPERNET_TEST_S3_URL` names, else one of our own on loopback."""
    with running_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3_buckets(s3_server: Server) -> Iterator[Server]:
    """Empty places in one bucket, as many as are asked for."""
    objects = S3Objects(s3_server)
    objects.make_bucket()
    objects.close()
    return (replace(s3_server, prefix=f"{uuid4().hex}/") for _ in count())
