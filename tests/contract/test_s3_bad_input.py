"""What a store in a bucket makes of a clock that is off, of requests cut short, and of bytes that it did not write."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import minio.time
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hypernet.errors import StoreCorrupt, StoreUnavailable
from hypernet.storage import key_ring, sealing
from hypernet.storage import pointer as pointers
from hypernet.storage.s3 import S3Objects, Server
from hypernet.storage.s3_transport import RequestFailed
from tests.s3_proxy import Proxy
from tests.s3_server import folder_of, running_server
from tests.samples import sample_adapter
from tests.storages import ACME, ADA, store_of

DATA = os.urandom(5_000_000)
CUT = 2_000_000


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the clock by which requests are signed ahead, by so many minutes."""
    true = minio.time.utcnow

    def set_ahead(minutes: float) -> None:
        monkeypatch.setattr(minio.time, "utcnow", lambda: true() + timedelta(minutes=minutes))

    return set_ahead


@pytest.fixture
def proxy(s3_server: Server) -> Iterator[Proxy]:
    made = Proxy(s3_server)
    yield made
    made.close()


@pytest.mark.parametrize("minutes", [-20, 20])
def test_s3_clock_that_is_wrong_is_named_whatever_is_asked(s3_buckets: Iterator[Server], set_clock, minutes):
    objects = S3Objects(replace(next(s3_buckets), timeout_s=2.0))
    tag = objects.swap("a/pointer", b"one", expected=None)
    set_clock(minutes)
    for call in (
        lambda: objects.read("a/pointer"),
        lambda: objects.write("a/object", b"x"),
        lambda: objects.swap("a/pointer", b"two", expected=tag),
        lambda: objects.swap("b/pointer", b"two", expected=None),
        lambda: objects.names("a/"),
        lambda: objects.folders(""),
        lambda: objects.remove("a/pointer"),
        objects.check,
    ):
        with pytest.raises(StoreUnavailable, match="The clocks of this machine and the server differ"):
            call()
    set_clock(0)
    assert (objects.read("a/pointer").tag, list(objects.names(""))) == (tag, ["a/pointer"])


@pytest.mark.parametrize("minutes", [-14, 14])
def test_s3_writes_go_with_every_clock_that_reads_go_with(s3_buckets: Iterator[Server], set_clock, minutes):
    objects = S3Objects(next(s3_buckets))
    set_clock(minutes)
    objects.write("a", b"x")
    assert objects.read("a").data == b"x"
    assert objects.swap("b", b"y", expected=None) == objects.read("b").tag


def found(objects: S3Objects, name: str) -> bytes | None:
    present = objects.read(name)
    return None if present is None else present.data


def test_s3_upload_that_is_cut_is_made_again_and_whole(s3_buckets: Iterator[Server], proxy: Proxy):
    server = next(s3_buckets)
    objects, direct = S3Objects(proxy.server_for(server)), S3Objects(server)
    old = direct.swap("a/pointer", b"old", expected=None)
    for write in (
        lambda: objects.write("a/object", DATA),
        lambda: objects.swap("a/pointer", DATA, expected=old),
        lambda: objects.swap("b/pointer", DATA, expected=None),
    ):
        proxy.uploads_to_cut = [CUT, CUT + 1_000_000]
        write()
        assert proxy.uploads_to_cut == []
    assert [found(direct, name) == DATA for name in direct.names("")] == [True, True, True]


def test_s3_upload_that_is_cut_every_time_leaves_what_was_there(s3_buckets: Iterator[Server], proxy: Proxy):
    server = next(s3_buckets)
    objects, direct = S3Objects(replace(proxy.server_for(server), timeout_s=1.0)), S3Objects(server)
    old = direct.swap("a/pointer", b"old", expected=None)
    proxy.uploads_to_cut = [CUT] * 10_000
    for write in (
        lambda: objects.write("a/object", DATA),
        lambda: objects.swap("a/pointer", DATA, expected=old),
        lambda: objects.swap("b/pointer", DATA, expected=None),
    ):
        start = time.monotonic()
        with pytest.raises(StoreUnavailable, match="cannot be reached in time"):
            write()
        assert time.monotonic() - start < 4
    assert len(proxy.uploads_to_cut) < 10_000 - 3  # each was tried again
    assert list(direct.names("")) == ["a/pointer"]
    assert (direct.read("a/pointer").data, direct.read("a/pointer").tag) == (b"old", old)


def test_s3_upload_that_would_go_on_where_it_was_cut_is_found_to_be_torn(s3_buckets: Iterator[Server], proxy: Proxy):
    # The twin of the two above.
    server = next(s3_buckets)
    objects, direct = S3Objects(proxy.server_for(server)), S3Objects(server)
    put = objects._put

    def resuming(name: str, data: bytes, headers: dict[str, str]) -> str:
        try:
            return put(name, data, headers)
        except RequestFailed:
            return put(name, data[CUT:], headers)

    objects._put = resuming
    proxy.uploads_to_cut = [CUT]
    objects.write("a/object", DATA)
    assert found(direct, "a/object") != DATA


def test_s3_download_that_is_cut_is_made_again_and_whole(s3_buckets: Iterator[Server], proxy: Proxy):
    server = next(s3_buckets)
    S3Objects(server).write("a/object", DATA)
    objects = S3Objects(proxy.server_for(server))
    proxy.downloads_to_cut = [CUT, CUT + 1_000_000]
    assert found(objects, "a/object") == DATA
    assert proxy.downloads_to_cut == []

    proxy.downloads_to_cut = [CUT] * 10_000
    with pytest.raises(StoreUnavailable, match="cannot be reached in time"):
        S3Objects(replace(proxy.server_for(server), timeout_s=1.0)).read("a/object")


def test_s3_server_killed_in_the_middle_of_an_upload_has_all_of_it_or_nothing_when_it_is_back(tmp_path: Path):
    with running_server(tmp_path) as server:
        folder = folder_of(server)
        proxy = Proxy(server)
        objects, direct = S3Objects(replace(proxy.server_for(server), timeout_s=60.0)), S3Objects(server)
        direct.make_bucket()
        old = direct.swap("a/pointer", b"old", expected=None)

        def kill() -> None:
            os.kill(int((folder / "run/client.rgw.a.pid").read_text()), signal.SIGKILL)

        def start_again() -> None:
            command = ["radosgw", "-c", str(folder / "ceph.conf"), "-n", "client.rgw.a"]
            subprocess.run(command, check=True, capture_output=True, timeout=60)

        for write in (
            lambda: objects.write("a/object", DATA),
            lambda: objects.swap("a/pointer", DATA, expected=old),
        ):
            killed = threading.Event()
            proxy.on_cut = lambda killed=killed: (kill(), killed.set())
            proxy.uploads_to_cut = [CUT]
            writer = threading.Thread(target=write)
            writer.start()
            assert killed.wait(30)
            start_again()
            writer.join(90)
            assert not writer.is_alive()
        proxy.close()
        assert {name: found(direct, name) == DATA for name in direct.names("")} == {"a/object": True, "a/pointer": True}


def test_s3_store_whose_upload_of_an_adapter_is_cut_keeps_the_version_before_or_makes_the_next(
    s3_buckets: Iterator[Server], proxy: Proxy
):
    places = next(s3_buckets), next(s3_buckets)
    direct = tuple(S3Objects(place) for place in places)
    large = sample_adapter(1, d_in=300_000)
    store_of(direct).put(ADA, sample_adapter(0))

    def through(timeout_s: float) -> tuple[S3Objects, S3Objects]:
        return tuple(S3Objects(replace(proxy.server_for(place), timeout_s=timeout_s)) for place in places)

    proxy.uploads_to_cut = [CUT] * 10_000
    with pytest.raises(StoreUnavailable):
        store_of(through(1.0)).put(ADA, large)
    assert store_of(direct).get(ADA)[1].digest == sample_adapter(0).digest
    assert sum(store_of(direct).sweep_tenant(ACME)) == 0

    proxy.uploads_to_cut = [CUT]
    assert store_of(through(30.0)).put(ADA, large).version == 2
    assert store_of(direct).get(ADA)[1].digest == large.digest
    assert sum(store_of(direct).sweep_tenant(ACME)) == 0


@pytest.mark.parametrize(
    "name",
    [
        *("", "/", "/x", "zoe/", "zoe/pointer/", "zoe/objects/notes.txt", "zoe/pointer/x", "notes.txt"),
        *("föö bar+&<x>/x", "new\nline/x", "a..b/x", "%zz/pointer", "UPPER/pointer", "~/x", ".hidden/x"),
    ],
)
def test_s3_store_works_beside_objects_that_somebody_else_has_put_there(s3_buckets: Iterator[Server], name):
    storages = S3Objects(next(s3_buckets)), S3Objects(next(s3_buckets))
    store = store_of(storages)
    names = ["Ada", "-x", "zoe"]
    for user in names:
        store.put(ACME.user(user), sample_adapter())
    for storage in storages:
        storage.write(f"acme/{name}", b"foreign")

    assert set(store.users(ACME)) == set(names)
    pages, after = [], None
    while page := store.users(ACME, after=after, limit=1):
        pages += page
        after = page[-1]
    assert set(pages) == set(names)
    assert store.rotate_tenant_key(ACME) == 3
    list(store.sweep_tenant(ACME))
    again = store_of(storages)
    assert {again.get(ACME.user(user))[1].digest for user in names} == {sample_adapter().digest}
    assert again.put(ACME.user("zoe"), sample_adapter(1)).version == 2


def test_s3_store_tells_the_owner_of_a_place_that_holds_something_foreign_and_serves_the_others(
    s3_buckets: Iterator[Server],
):
    storages = S3Objects(next(s3_buckets)), S3Objects(next(s3_buckets))
    store = store_of(storages)
    store.put(ADA, sample_adapter())
    storages[0].write("acme/bob/pointer", b"foreign")

    assert store.users(ACME) == ["ada", "bob"]
    for call in (lambda: store.get(ACME.user("bob")), lambda: store.put(ACME.user("bob"), sample_adapter())):
        with pytest.raises(StoreCorrupt, match="not one of this store"):
            call()
    assert store.get(ADA)[1].digest == sample_adapter().digest


# Of what is sealed: magic, format, name of the key, nonce, body, tag.
PARTS = {"magic": 0, "format": 8, "key": 9, "nonce": 25, "body": 37, "tag": -1}


@pytest.mark.parametrize("part", PARTS)
def test_s3_store_never_serves_an_object_of_which_one_bit_was_changed(s3_buckets: Iterator[Server], part):
    storages = S3Objects(next(s3_buckets)), S3Objects(next(s3_buckets))
    store_of(storages).put(ADA, sample_adapter())
    changed = 0
    for storage in storages:
        for name in storage.names("acme/ada/"):
            original = storage.read(name).data
            flipped = bytearray(original)
            flipped[PARTS[part]] ^= 1
            storage.write(name, bytes(flipped))
            with pytest.raises(StoreCorrupt):
                store_of(storages).get(ADA)
            storage.write(name, original)
            changed += 1
    assert changed == 3  # pointer, object, key
    assert store_of(storages).get(ADA)[1].digest == sample_adapter().digest


class TrustingGCM:
    """The defect of decrypting without looking at the tag."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def encrypt_into(self, nonce: bytes, data: bytes, bound: bytes, made: memoryview) -> int:
        return AESGCM(self._key).encrypt_into(nonce, data, bound, made)

    def decrypt_into(self, nonce: bytes, data: memoryview, bound: bytes, found: bytearray) -> None:
        counter = nonce + (2).to_bytes(4, "big")  # as GCM does where the nonce has 96 bits
        found[:] = Cipher(algorithms.AES(self._key), modes.CTR(counter)).decryptor().update(data[:-16])


def test_s3_store_that_did_not_check_the_seal_would_serve_a_changed_bit(s3_buckets: Iterator[Server], monkeypatch):
    # The twin of the test above.
    storages = S3Objects(next(s3_buckets)), S3Objects(next(s3_buckets))
    store_of(storages).put(ADA, sample_adapter())
    (name,) = storages[0].names("acme/ada/objects/")
    flipped = bytearray(storages[0].read(name).data)
    flipped[-18] ^= 1
    storages[0].write(name, bytes(flipped))
    monkeypatch.setattr(sealing, "AESGCM", TrustingGCM)

    assert store_of(storages).get(ADA)[1].canonical_bytes() != sample_adapter().canonical_bytes()


@pytest.mark.parametrize("kind", ["pointer", "object", "key"])
def test_s3_store_says_that_an_object_was_sealed_by_a_newer_version(s3_buckets: Iterator[Server], kind):
    storages = S3Objects(next(s3_buckets)), S3Objects(next(s3_buckets))
    store_of(storages).put(ADA, sample_adapter())
    storage = storages[kind == "key"]
    (name,) = [name for name in storage.names("acme/ada/") if kind == "key" or kind in name]
    data = bytearray(storage.read(name).data)
    data[8] = 2
    storage.write(name, bytes(data))

    with pytest.raises(StoreCorrupt, match=r"sealing format 2, this version reads 1.*newer"):
        store_of(storages).get(ADA)


def test_s3_store_says_that_a_pointer_was_written_by_a_newer_version(s3_buckets: Iterator[Server], monkeypatch):
    storages = S3Objects(next(s3_buckets)), S3Objects(next(s3_buckets))
    with monkeypatch.context() as patch:
        patch.setattr(pointers, "_FORMAT", 3)
        store_of(storages).put(ADA, sample_adapter())

    with pytest.raises(StoreCorrupt, match=r"format 3, this version reads 2.*newer"):
        store_of(storages).get(ADA)


@pytest.mark.parametrize("kind", ["vacant pointer", "tenant's keys"])
def test_s3_store_says_of_everything_else_too_that_a_newer_version_wrote_it(
    s3_buckets: Iterator[Server], monkeypatch, kind
):
    storages = S3Objects(next(s3_buckets)), S3Objects(next(s3_buckets))
    with monkeypatch.context() as patch:
        patch.setattr(*(pointers, "_FORMAT", 3) if kind == "vacant pointer" else (key_ring, "_FORMAT", 2))
        store_of(storages).put(ADA, sample_adapter())
        if kind == "vacant pointer":
            store_of(storages).erase(ADA)

    with pytest.raises(StoreCorrupt, match="newer"):
        store_of(storages).get(ADA)
