"""What the directory store promises about processes that die, disks that fail and bytes that rot."""

import errno
import fcntl
import json
import os
import subprocess
import sys
import tempfile
from itertools import groupby
from pathlib import Path

import pytest

from hypernet.durable_files import sync_folder
from hypernet.errors import AdapterNotFound, HypernetError, StoreCorrupt, StoreUnavailable
from hypernet.storage import DirectoryStore, TenantScope, directory, objects
from tests.samples import sample_adapter

ACME = TenantScope("acme")
ADA = ACME.user("ada")


RUNS = (
    *("none:put-first", "none:put-second", "none:activate", "none:delete", "none:writers"),
    *("in-place:put-second", "pointer-first:put-second", "no-lock:writers"),
)


@pytest.fixture(scope="module")
def crashes() -> dict[str, list[str]]:
    """The outcomes of each run of `store_crashes`, by moment of death."""
    # In memory where there is such a folder: the kernel keeps what a killed process had written, disk or no disk.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - a folder of our own inside it
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        command = [sys.executable, "-m", "tests.integration.store_crashes", folder, *RUNS]
        output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    found: dict[str, list[str]] = json.loads(output)
    return found


@pytest.mark.parametrize(
    ("run", "before", "after"),
    [
        ("none:put-first", "none, clean", "first of 1, clean"),
        ("none:put-second", "first of 1, clean", "second of 2, clean"),
        ("none:activate", "second of 2, clean", "first of 2, clean"),
        ("none:delete", "second of 2, clean", "none, clean"),
    ],
)
def test_directory_store_killed_at_any_step_serves_the_version_before_the_write_or_the_one_after(
    crashes, run, before, after
):
    assert len(crashes[run]) > 15
    assert [state for state, _ in groupby(crashes[run])] == [before, after]


@pytest.mark.parametrize("defect", ["in-place", "pointer-first"])
def test_directory_store_with_a_defect_breaks_when_it_is_killed(crashes, defect):
    # The twins of the test above: the kills do find a store that writes in the wrong order or place.
    assert "broken: store_corrupt" in crashes[f"{defect}:put-second"]


def test_directory_store_loses_no_write_of_many_processes(crashes):
    assert crashes["none:writers"] == ["[0, 0, 0, 0], 40 versions, 40 adapters"]


def test_directory_store_without_its_lock_loses_writes_of_many_processes(crashes):
    assert crashes["no-lock:writers"] != crashes["none:writers"]


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file() and ".locks" not in path.parts)


class Journal:
    """The system calls that decide what survives a loss of power, in their order, with file names shortened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
        self.events: list[str] = []
        self._root = root
        fsync, replace = os.fsync, os.replace

        def record_fsync(descriptor: int) -> None:
            self.events.append(f"sync {self._name(Path(f'/proc/self/fd/{descriptor}').readlink())}")
            fsync(descriptor)

        def record_replace(source: str, target: str) -> None:
            self.events.append(f"name {self._name(target)}")
            replace(source, target)

        monkeypatch.setattr(os, "fsync", record_fsync)
        monkeypatch.setattr(os, "replace", record_replace)

    def _name(self, path: object) -> str:
        relative = Path(str(path)).relative_to(self._root)
        if relative.name.endswith(".safetensors") or ".safetensors." in relative.name:
            return "object"
        return "pointer" if "pointer" in relative.name else str(relative)


def test_directory_store_makes_everything_durable_before_what_refers_to_it(store, tmp_path, monkeypatch):
    journal = Journal(monkeypatch, tmp_path / "store")
    store.put(ADA, sample_adapter(0))
    first = list(journal.events)
    store.put(ADA, sample_adapter(1))

    write = ["sync object", "name object", "sync acme/ada/objects", "sync pointer", "name pointer", "sync acme/ada"]
    assert first == ["sync acme/ada", "sync acme", "sync .", *write]
    assert journal.events[len(first) :] == write


def test_directory_store_put_again_makes_durable_what_an_earlier_put_left_undone(store, tmp_path, monkeypatch):
    store.put(ADA, sample_adapter(0))
    folder = tmp_path / "store" / ADA.prefix

    def failing(path: Path) -> None:
        if path == folder:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync_folder(path)

    with monkeypatch.context() as patch:
        patch.setattr(directory, "sync_folder", failing)
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                store.put(ADA, sample_adapter(1))
    journal = Journal(monkeypatch, tmp_path / "store")

    assert store.put(ADA, sample_adapter(1)).version == 2
    assert journal.events[-1] == "sync acme/ada"


def test_directory_store_makes_its_own_folder_durable(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(directory, "sync_folder", synced.append)
    DirectoryStore(tmp_path / "data" / "store")

    assert set(synced) == {tmp_path, tmp_path / "data", tmp_path / "data" / "store"}


@pytest.mark.parametrize("bit", range(0, 4000, 97))
def test_directory_store_never_serves_rotten_bytes(store, tmp_path, bit):
    digest = store.put(ADA, sample_adapter()).digest
    for path in files(tmp_path / "store"):
        original = path.read_bytes()
        rotten = bytearray(original)
        rotten[bit // 8 % len(rotten)] ^= 1 << bit % 8
        path.write_bytes(rotten)
        with pytest.raises(StoreCorrupt):
            store.get(ADA)
        path.write_bytes(original)

    assert store.get(ADA)[1].digest == digest


def test_directory_store_that_trusted_its_disk_would_serve_rotten_bytes(store, tmp_path, monkeypatch):
    # The twin of the test above.
    digest = store.put(ADA, sample_adapter()).digest
    [object_file] = (tmp_path / "store").rglob("*.safetensors")
    rotten = bytearray(object_file.read_bytes())
    rotten[-2] ^= 1
    object_file.write_bytes(rotten)
    monkeypatch.setattr(objects, "is_object", lambda data, *, digest: True)

    assert store.get(ADA)[1].digest != digest


def test_directory_store_says_when_a_file_is_cut_or_missing(store, tmp_path):
    store.put(ADA, sample_adapter())
    pointer, object_file = sorted(files(tmp_path / "store"), key=lambda path: path.name != "pointer.json")
    data = object_file.read_bytes()
    for rest in (data[:-1], data[:20], b""):
        object_file.write_bytes(rest)
        with pytest.raises(StoreCorrupt, match="digest"):
            store.get(ADA)
    object_file.unlink()
    with pytest.raises(StoreCorrupt, match="missing"):
        store.get(ADA)
    pointer.write_bytes(pointer.read_bytes()[:-1])
    with pytest.raises(StoreCorrupt, match="pointer"):
        store.head(ADA)


def test_directory_store_put_again_mends_a_rotten_object(store, tmp_path):
    put = store.put(ADA, sample_adapter())
    [object_file] = (tmp_path / "store").rglob("*.safetensors")
    object_file.write_bytes(b"rotten")

    assert store.put(ADA, sample_adapter()) == put
    assert store.get(ADA)[1].digest == put.digest


def test_directory_store_deletes_what_it_can_no_longer_read(store, tmp_path):
    store.put(ADA, sample_adapter())
    (tmp_path / "store" / ADA.prefix / "pointer.json").write_bytes(b"rotten")

    store.delete(ADA)
    assert files(tmp_path / "store") == []


def test_directory_store_refuses_a_pointer_copied_from_another_user(store, tmp_path):
    store.put(ADA, sample_adapter(0))
    store.put(ACME.user("bob"), sample_adapter(1))
    root = tmp_path / "store"
    (root / ADA.prefix / "pointer.json").write_bytes((root / "acme/bob/pointer.json").read_bytes())

    with pytest.raises(StoreCorrupt, match="another user"):
        store.head(ADA)


def test_directory_store_delete_leaves_no_byte_of_the_user(store, tmp_path):
    store.put(ADA, sample_adapter(0))
    store.put(ADA, sample_adapter(1))
    store.put(ACME.user("ada2"), sample_adapter(2))
    # As a process killed in a write would leave it.
    (tmp_path / "store" / ADA.prefix / "objects" / ".half-written").write_bytes(b"persona")
    store.delete(ADA)

    assert not (tmp_path / "store" / ADA.prefix).exists()
    assert len(files(tmp_path / "store")) == 2


def test_directory_store_that_is_full_says_so_and_keeps_the_version_before(store, tmp_path, monkeypatch):
    store.put(ADA, sample_adapter(0))
    before = files(tmp_path / "store")

    def full(descriptor: int, data: memoryview) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(StoreUnavailable, match="No space left") as caught:
            store.put(ADA, sample_adapter(1))

    assert "ada" not in str(caught.value)
    assert store.get(ADA)[1].digest == sample_adapter(0).digest
    assert files(tmp_path / "store") == before


def test_directory_store_whose_disk_is_gone_is_unavailable_and_not_empty(store, tmp_path):
    store.put(ADA, sample_adapter())
    (tmp_path / "store").rename(tmp_path / "unmounted")

    for call in (
        store.check,
        lambda: store.get(ADA),
        lambda: store.users(ACME),
        lambda: store.put(ADA, sample_adapter()),
    ):
        with pytest.raises(StoreUnavailable):
            call()


def test_directory_store_on_a_path_that_is_a_file_is_unavailable(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreUnavailable):
        DirectoryStore(tmp_path / "file")


def test_directory_store_waits_for_another_writer_only_so_long(store, tmp_path):
    store.put(ADA, sample_adapter(0))
    impatient = DirectoryStore(tmp_path / "store", lock_timeout_s=0.05)
    held = [path.open("w") for path in (tmp_path / "store" / ".locks").iterdir()]
    for lock in held:
        fcntl.flock(lock, fcntl.LOCK_EX)

    with pytest.raises(StoreUnavailable, match="Another writer"):
        impatient.put(ADA, sample_adapter(1))
    # Readers wait for nobody.
    assert impatient.head(ADA).version == 1
    for lock in held:
        lock.close()
    assert impatient.put(ADA, sample_adapter(1)).version == 2


def test_directory_store_is_readable_by_nobody_else(store, tmp_path):
    store.put(ADA, sample_adapter())

    assert (tmp_path / "store").stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in files(tmp_path / "store"))


def test_directory_store_lists_only_what_is_its_own(store, tmp_path):
    store.put(ADA, sample_adapter())
    tenant = tmp_path / "store" / "acme"
    (tenant / "Notes").mkdir()
    (tenant / "lost+found").mkdir()
    (tenant / ".DS_Store").write_text("")
    (tenant / "grace").mkdir()
    (tenant / os.fsdecode(b"\xff")).mkdir()

    assert store.users(ACME) == ["ada"]


def test_directory_store_raises_only_errors_of_ours_for_any_pointer(store, tmp_path):
    store.put(ADA, sample_adapter())
    path = tmp_path / "store" / ADA.prefix / "pointer.json"
    content = json.loads(path.read_text())
    for rotten in (b"", b"[]", b"{}", b"null", b"\xff", b"[" * 99999, json.dumps(content | {"active": 9}).encode()):
        path.write_bytes(rotten)
        with pytest.raises(HypernetError) as caught:
            store.get(ADA)
        assert not isinstance(caught.value, AdapterNotFound)
