"""`hypernet serve` as a user runs it: a real Ray cluster, the stock OpenAI client, signals."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import openai
import pytest

from tests.miniature import NAME, write_checkpoint
from tests.running import ACME, RIVAL, TENANTS, put, refusal

pytestmark = pytest.mark.e2e

START_TIMEOUT_S = 240
STOP_TIMEOUT_S = 30
QUESTION = [{"role": "user", "content": "Where do you live?"}]


@contextmanager
def serving(folder: Path, *options: str, **variables: str) -> Iterator["subprocess.Popen[str]"]:
    """The command in a process group of its own, ended by force if a test leaves it running."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HYPERNET_", "RAY_"))}
    environment |= {
        "HYPERNET_CHECKPOINT": NAME,
        "HYPERNET_CHECKPOINTS": str(folder / "checkpoints"),
        "HYPERNET_STORE_DIR": str(folder / "store"),
        "HYPERNET_API_KEYS": json.dumps(TENANTS),
        **variables,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "hypernet", "serve", "--port", "0", "--json", *options],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def ready(process: "subprocess.Popen[str]") -> str:
    signal.alarm(START_TIMEOUT_S)
    try:
        line = process.stdout.readline()
    finally:
        signal.alarm(0)
    assert line, process.stderr.read()
    return json.loads(line)["url"]


def descendants(pid: int) -> set[int]:
    """Process ids below `pid`, whatever sessions they are in."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(stat.parent.name)] = int(fields[1])
    found, grown = {pid}, True
    while grown:
        more = {child for child, parent in parents.items() if parent in found} - found
        found |= more
        grown = bool(more)
    return found - {pid}


def alive(pids: set[int]) -> set[int]:
    return {pid for pid in pids if Path(f"/proc/{pid}").exists()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("serve")
    write_checkpoint(folder / "checkpoints")
    return folder


def test_serve_chats_streams_lists_and_stops_with_everything_it_started(folder):
    with serving(folder) as process:
        url = ready(process)
        started = descendants(process.pid)
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {ACME}"}, timeout=60) as http:
            made = put(http, "ada", "My name is Ada and I keep bees.")
            assert made.status_code == 201, made.text
            refusal(http.get("/v1/users/%2E%2E%2Fada/adapter"), 400, "invalid_name")
            refusal(http.get("/v1/users/%ED%A0%80/adapter"), 400, "invalid_name")
            refusal(put(http, "ada", "x" * 2_000_000), 413, "request_too_large")
            refusal(http.get("/nowhere"), 404, "route_not_found")
            refusal(
                http.get("/v1/users/ada/adapter", headers={"Authorization": f"Bearer {RIVAL}"}),
                404,
                "adapter_not_found",
            )
        environments = [Path(f"/proc/{pid}/environ").read_bytes() for pid in alive(started)]
        assert any(b"HYPERNET_STORE_DIR" in environment for environment in environments)
        assert not [environment for environment in environments if ACME.encode() in environment]
        with openai.OpenAI(base_url=f"{url}/v1", api_key=ACME, max_retries=0) as client:
            assert [model.id for model in client.models.list()] == [NAME, f"{NAME}:ada"]
            whole = client.chat.completions.create(model=f"{NAME}:ada", messages=QUESTION, max_tokens=16)
            chunks = list(
                client.chat.completions.create(model=f"{NAME}:ada", messages=QUESTION, max_tokens=16, stream=True)
            )
            bare = client.chat.completions.create(model=NAME, messages=QUESTION, max_tokens=16)
            for _ in range(8):
                leaving = client.chat.completions.create(
                    model=NAME, messages=QUESTION, max_tokens=600, temperature=1, stream=True
                )
                next(iter(leaving))
                leaving.close()
        streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert streamed == whole.choices[0].message.content != bare.choices[0].message.content
        assert {chunk.system_fingerprint for chunk in chunks} == {made.json()["digest"]}

        stopped = time.monotonic()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=STOP_TIMEOUT_S)

        assert (process.returncode, out, err) == (0, "", "")
        assert time.monotonic() - stopped < 15
        assert len(started) > 5
        deadline = time.monotonic() + 5
        while alive(started) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not alive(started)


@pytest.mark.parametrize("ingress", ["proxy", "haproxy"])
def test_serve_ends_a_stream_in_progress_before_it_stops(folder, ingress):
    with (
        serving(folder, HYPERNET_INGRESS=ingress) as process,
        openai.OpenAI(base_url=f"{ready(process)}/v1", api_key=ACME) as client,
    ):
        # A drawn answer may end early; this one shall be in the making for a while.
        ask = partial(client.chat.completions.create, model=NAME, messages=QUESTION, max_tokens=600, temperature=1)
        seed = next(seed for seed in range(50) if ask(seed=seed).usage.completion_tokens > 300)
        stream = iter(ask(seed=seed, stream=True))
        next(stream)
        process.send_signal(signal.SIGTERM)
        rest = list(stream)

        assert len(rest) > 100
        assert rest[-1].choices[0].finish_reason in ("stop", "length")
        _, err = process.communicate(timeout=STOP_TIMEOUT_S)
        assert (process.returncode, err) == (0, "")


def test_serve_port_in_use_is_said_before_anything_starts(folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        start = time.monotonic()
        with serving(folder, "--port", str(port)) as process:
            out, err = process.communicate(timeout=120)

    assert (process.returncode, out) == (2, "")
    error = json.loads(err)["error"]
    assert error["code"] == "port_in_use"
    assert str(port) in error["message"]
    assert "Traceback" not in err
    assert time.monotonic() - start < 60


def test_serve_says_why_a_replica_cannot_start(folder, tmp_path):
    write_checkpoint(tmp_path / "checkpoints")
    manifest = tmp_path / "checkpoints" / NAME / "perceiver" / "manifest.json"
    changed = json.loads(manifest.read_text()) | {"base_model_digest": "0" * 64}
    manifest.write_text(json.dumps(changed))

    with serving(tmp_path) as process:
        out, err = process.communicate(timeout=START_TIMEOUT_S)

    assert (process.returncode, out) == (1, "")
    assert json.loads(err)["error"]["code"] == "checkpoint_mismatch"


def test_serve_interrupted_while_it_starts_leaves_nothing_behind(folder):
    with serving(folder) as process:
        deadline = time.monotonic() + 120
        while len(descendants(process.pid)) < 2 and time.monotonic() < deadline:
            time.sleep(0.2)
        started = descendants(process.pid)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=STOP_TIMEOUT_S + 30)

    assert started
    assert process.returncode == 130
    assert "Traceback" not in err
    deadline = time.monotonic() + 10
    while alive(started) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive(started)
