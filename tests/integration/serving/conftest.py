"""The service over a miniature checkpoint, behind a real HTTP server in this process."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn

from hypernet.settings import read_settings
from serving.app import create_app
from serving.keys import KeyRing
from serving.service import Service
from tests.miniature import NAME, write_checkpoint
from tests.running import ACME, BODY_LIMIT, RIVAL, TENANTS, Running


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("checkpoints")
    write_checkpoint(root)
    return root


@pytest.fixture(scope="module")
def start(checkpoints, tmp_path_factory) -> Iterator[Callable[..., Running]]:
    """Starts services with changed settings; all are stopped at the end of the module."""
    stops = []

    def begin(wrap: Callable[[Service], None] = lambda service: None, **changes: object) -> Running:
        settings = read_settings(
            checkpoint=NAME,
            checkpoints=checkpoints,
            store_dir=tmp_path_factory.mktemp("store"),
            threads=1,
            **({"slots": 4, "max_batch_rows": 4} | changes),
        )
        service = Service.open(settings)
        wrap(service)
        app = create_app(service, keys=KeyRing.from_keys(TENANTS), max_body_bytes=BODY_LIMIT)
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)

        def stop() -> None:
            server.should_exit = True
            thread.join(10)
            listener.close()
            service.close()

        stops.append(stop)
        return Running(
            service=service, store_dir=settings.store_dir, url=f"http://127.0.0.1:{listener.getsockname()[1]}"
        )

    yield begin
    for stop in stops:
        stop()


@pytest.fixture(scope="module")
def running(start) -> Running:
    return start()


@pytest.fixture
def acme(running) -> Iterator[httpx.Client]:
    with running.client(ACME) as client:
        yield client


@pytest.fixture
def rival(running) -> Iterator[httpx.Client]:
    with running.client(RIVAL) as client:
        yield client
