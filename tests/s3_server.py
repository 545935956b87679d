"""A throw-away S3 server on loopback for the tests: Ceph's object gateway over an in-memory store."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from hypernet.storage.s3 import Server

_SCRIPT = Path(__file__).parent / "s3_up.sh"
_ours: dict[str, Path] = {}
"""Folders of the servers that this process has started, by endpoint."""
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
    command = ["bash", str(_SCRIPT), str(folder / "ceph"), str(port)]
    subprocess.run(command, check=True, timeout=120, stdout=subprocess.DEVNULL)
    _ours[f"127.0.0.1:{port}"] = folder / "ceph"
    try:
        yield Server(
            endpoint=f"127.0.0.1:{port}",
            bucket="hypernet-test",
            access_key="TESTACCESSKEY",
            secret_key=SecretStr("testsecretkey0123"),
            secure=False,
        )
    finally:
        del _ours[f"127.0.0.1:{port}"]
        subprocess.run(["bash", str(_SCRIPT), "--stop", str(folder / "ceph")], check=True, timeout=60)  # noqa: S607


def folder_of(server: Server) -> Path:
    """The folder of a server that `running_server` started; skips the test for one that runs elsewhere."""
    if server.endpoint not in _ours:
        pytest.skip("needs to administer the server, and HYPERNET_TEST_S3_URL names another one")
    return _ours[server.endpoint]


def another_user(server: Server, name: str) -> tuple[Server, str]:
    """The server as another user sees it, who may do nothing so far, and the ARN of that user."""
    access_key, secret_key = f"KEY{name.upper()}", f"secret-of-{name}-0123456789"
    command = ["radosgw-admin", "-c", str(folder_of(server) / "ceph.conf"), "-n", "client.rgw.a", "user", "create"]
    command += [f"--uid={name}", f"--display-name={name}", f"--access-key={access_key}", f"--secret={secret_key}"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return replace(server, access_key=access_key, secret_key=SecretStr(secret_key)), f"arn:aws:iam:::user/{name}"


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
