"""What is particular to a store in a bucket: wrong settings, a server that is not there, and the program over it."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from hypernet.cli.program import program
from hypernet.errors import ObjectChanged, StoreUnavailable
from hypernet.storage.s3 import S3Objects, Server
from hypernet.storage.s3_transport import RequestFailed
from tests.s3_proxy import Proxy


def test_s3_bucket_that_is_not_there_is_named_and_made_only_when_asked(s3_server: Server):
    objects = S3Objects(replace(s3_server, bucket="nobody-made-this"))
    for call in (objects.check, lambda: objects.read("a"), lambda: objects.write("a", b"")):
        with pytest.raises(StoreUnavailable, match=r"bucket nobody-made-this.*no such bucket"):
            call()


@pytest.mark.parametrize(
    ("change", "meaning"),
    [
        ({"secret_key": SecretStr("not-the-secret")}, "HYPERNET_S3_SECRET_KEY"),
        ({"access_key": "NOBODY"}, "HYPERNET_S3_ACCESS_KEY"),
        ({"endpoint": "127.0.0.1:1"}, "cannot be reached"),
        ({"endpoint": "nowhere.invalid"}, "cannot be reached"),
        ({"secure": True}, "cannot be reached"),
    ],
)
def test_s3_says_what_is_wrong_within_its_time_out_and_repeats_no_secret(s3_server: Server, change, meaning):
    objects = S3Objects(replace(s3_server, timeout_s=1.0, **change))
    for call in (
        objects.check,
        lambda: objects.write("a", b"x"),
        lambda: objects.swap("a", b"x", expected=None),
        lambda: objects.names("a/"),
    ):
        start = time.monotonic()
        with pytest.raises(StoreUnavailable, match=meaning) as caught:
            call()
        assert time.monotonic() - start < 4
        assert s3_server.secret_key.get_secret_value() not in str(caught.value)
        assert "not-the-secret" not in str(caught.value)


def test_s3_store_behind_the_program(s3_buckets: Iterator[Server], monkeypatch, tmp_path: Path):
    adapters, keys = next(s3_buckets), next(s3_buckets)
    url, keys_url = (f"s3://{server.bucket}/{server.prefix}" for server in (adapters, keys))
    for name, value in {
        "STORE_URL": url,
        "KEYS_URL": keys_url,
        "S3_ENDPOINT": f"http{'s' * adapters.secure}://{adapters.endpoint}",
        "S3_ACCESS_KEY": adapters.access_key,
        "S3_SECRET_KEY": adapters.secret_key.get_secret_value(),
        "ROOT_KEYS_FILE": str(tmp_path / "keys.json"),
    }.items():
        monkeypatch.setenv(f"HYPERNET_{name}", value)
    assert CliRunner().invoke(program(), ["store", "keygen", str(tmp_path / "keys.json")]).exit_code == 0

    listed = CliRunner().invoke(program(), ["adapters", "list", "--json"])
    assert (listed.exit_code, json.loads(listed.stdout)) == (0, [])
    found = json.loads(CliRunner().invoke(program(), ["doctor", "--json"]).stdout)["store"]
    assert (found["place"], found["status"]) == (url, "ok")
    assert len(found["tried"]) == 18
    assert all(entry["kept"] for entry in found["tried"])
    assert json.loads(CliRunner().invoke(program(), ["store", "sweep", "--json"]).stdout)["removed"] == 0


@pytest.fixture
def proxy(s3_server: Server) -> Iterator[Proxy]:
    made = Proxy(s3_server)
    yield made
    made.close()


def test_s3_server_that_goes_away_and_comes_back_is_waited_for(s3_buckets: Iterator[Server], proxy: Proxy):
    objects = S3Objects(replace(proxy.server_for(next(s3_buckets)), timeout_s=5.0))
    objects.write("a", b"one")
    proxy.down = True
    back = threading.Timer(0.5, lambda: setattr(proxy, "down", False))
    back.start()
    start = time.monotonic()
    objects.write("b", b"two")
    assert time.monotonic() - start > 0.3
    back.join()
    assert (objects.read("a").data, objects.read("b").data) == (b"one", b"two")

    proxy.down = True
    start = time.monotonic()
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        S3Objects(replace(proxy.server_for(next(s3_buckets)), timeout_s=0.5)).write("c", b"x")
    assert time.monotonic() - start < 3


def test_s3_swap_whose_answer_is_lost_is_made_once_and_known_to_be(s3_buckets: Iterator[Server], proxy: Proxy):
    server = next(s3_buckets)
    objects = S3Objects(proxy.server_for(server))
    first = objects.swap("a/pointer", b"one", expected=None)
    proxy.answers_to_lose = 1
    second = objects.swap("a/pointer", b"two", expected=first)
    assert proxy.answers_to_lose == 0
    assert (objects.read("a/pointer").data, objects.read("a/pointer").tag) == (b"two", second)

    proxy.answers_to_lose = 1
    objects.swap("b/pointer", b"new", expected=None)
    assert objects.read("b/pointer").data == b"new"


def test_s3_swap_that_was_made_and_written_over_says_that_it_is_unsure(s3_buckets: Iterator[Server], proxy: Proxy):
    server = next(s3_buckets)
    objects, rival = S3Objects(proxy.server_for(server)), S3Objects(server)
    first = objects.swap("a/pointer", b"one", expected=None)
    put = objects._put

    def overtaken(name: str, data: bytes, headers: dict[str, str]) -> str:
        try:
            return put(name, data, headers)
        except RequestFailed:
            present = rival.read(name)
            rival.swap(name, b"the rival's", expected=present.tag)
            raise

    objects._put = overtaken
    proxy.answers_to_lose = 1
    with pytest.raises(ObjectChanged) as caught:
        objects.swap("a/pointer", b"two", expected=first)
    assert caught.value.unsure
    # The twin: one who is refused at the first attempt knows that nothing was made.
    objects._put = put
    with pytest.raises(ObjectChanged) as caught:
        objects.swap("a/pointer", b"three", expected=first)
    assert not caught.value.unsure
