"""Servers, storages and stores for the contract suites."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from uuid import uuid4

import pytest

from hypernet.storage import AdapterStore
from hypernet.storage.directory import DirectoryObjects
from hypernet.storage.memory import MemoryObjects
from hypernet.storage.s3 import S3Objects, Server
from tests.s3_server import running_server
from tests.storages import Storages, store_of


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


@pytest.fixture(params=["memory", "directory", "s3"])
def storages(request: pytest.FixtureRequest, tmp_path: Path) -> Storages:
    """Where the adapters lie, and where the keys do."""
    if request.param == "memory":
        return MemoryObjects(), MemoryObjects()
    if request.param == "directory":
        return DirectoryObjects(tmp_path / "adapters"), DirectoryObjects(tmp_path / "keys")
    buckets = request.getfixturevalue("s3_buckets")
    return S3Objects(next(buckets)), S3Objects(next(buckets))


@pytest.fixture
def store(storages: Storages) -> Iterator[AdapterStore]:
    store = store_of(storages)
    yield store
    store.close()
