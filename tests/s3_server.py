"""A throw-away S3 server on loopback for the tests: Ceph's object gateway over an in-memory store."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from hypernet.storage.s3 import Server

_SCRIPT = Path(__file__).parent / "s3_up.sh"
_NEEDED = ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin")


@contextmanager
def running_server(folder: Path) -> Iterator[Server]:
    """A server for as long as the context lasts; `HYPERNET_TEST_S3_URL` (`http://key:secret@host:port/bucket`) names
    another one that runs already.
    """
    url = os.environ.get("HYPERNET_TEST_S3_URL")
    if url:
        yield _named(url)
        return
    missing = [name for name in _NEEDED if shutil.which(name) is None]
    if missing:
        message = f"no S3 server: {', '.join(missing)} not installed (apt-get install ceph-mon ceph-osd radosgw)"
        if os.environ.get("HYPERNET_TEST_NEEDS_S3"):
            pytest.fail(message)
        pytest.skip(message)
    port = _free_port()
    subprocess.run(["bash", str(_SCRIPT), str(folder / "ceph"), str(port)], check=True, timeout=120)  # noqa: S607
    try:
        yield Server(
            endpoint=f"127.0.0.1:{port}",
            bucket="hypernet-test",
            access_key="TESTACCESSKEY",
            secret_key=SecretStr("testsecretkey0123"),
            secure=False,
        )
    finally:
        subprocess.run(["bash", str(_SCRIPT), "--stop", str(folder / "ceph")], check=True, timeout=60)  # noqa: S607


def _named(url: str) -> Server:
    parts = urlsplit(url)
    return Server(
        endpoint=f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname),
        bucket=parts.path.strip("/") or "hypernet-test",
        access_key=parts.username or "",
        secret_key=SecretStr(parts.password or ""),
        secure=parts.scheme == "https",
    )


def _free_port() -> int:
    """A port that is free, and so is the one a thousand above it, which the monitor takes."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            try:
                other.bind(("127.0.0.1", port + 1000))
            except (OSError, OverflowError):
                continue
            return int(port)
