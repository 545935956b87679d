"""What the directory store promises about disks that fail and bytes that rot."""

import errno
import fcntl
import os
import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from hypernet.durable_files import sync_folder
from hypernet.errors import AdapterNotFound, HypernetError, StoreCorrupt, StoreUnavailable
from hypernet.storage import AdapterStore, TenantScope, directory, sealing, user_states
from hypernet.storage.directory import DirectoryObjects
from hypernet.storage.key_provider import HeldKeys
from hypernet.storage.sealing import new_key
from tests.samples import sample_adapter

ROOT_KEYS = HeldKeys([new_key()])
ACME = TenantScope("acme")
ADA = ACME.user("ada")


def opened(root: Path, **options: float) -> AdapterStore:
    return AdapterStore.in_directory(root, provider=ROOT_KEYS, **options)


@pytest.fixture
def store(tmp_path: Path) -> AdapterStore:
    return opened(tmp_path / "store")


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file() and ".locks" not in path.parts)


def of_users(root: Path) -> list[Path]:
    """Files under the users' prefixes: not the tenant's keys, log and receipts."""
    return [path for path in files(root) if not path.relative_to(root).parts[2].startswith(".")]


def pointer_of(root: Path, user: str = "ada") -> Path:
    return root / "adapters/acme" / user / "pointer"


def object_of(root: Path, user: str = "ada") -> Path:
    (found,) = (root / "adapters/acme" / user / "objects").iterdir()
    return found


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
        if relative.parent.name == "objects":
            return "object"
        if relative.parts[0] == "keys" and re.match("[0-9a-f]{32}", relative.name):
            return "key"
        return relative.name.split(".")[0] if "pointer" in relative.name else str(relative).removesuffix(".unfinished")


def test_directory_store_makes_everything_durable_before_what_refers_to_it(store, tmp_path, monkeypatch):
    journal = Journal(monkeypatch, tmp_path / "store")
    store.put(ADA, sample_adapter(0))
    first = list(journal.events)
    store.put(ADA, sample_adapter(1))
    second = journal.events[len(first) :]

    written = ["sync object", "name object", "sync adapters/acme/ada/objects"]
    assert second[:3] == written
    assert second[-3:] == ["sync pointer", "name pointer", "sync adapters/acme/ada"]
    for events in (first, second):  # and the line of it in the audit log
        logged = [place for place, event in enumerate(events) if "/.audit/" in event]
        assert {events[place].split()[0] for place in logged} == {"sync", "name"}
        committed = len(events) - events[::-1].index("name pointer") - 1
        assert max(logged) < committed
    steps = ("keys/acme/.keys", "key", "object", "pointer")
    # Before them all comes a pointer that says nothing yet.
    named = [max(place for place, event in enumerate(first) if event == f"name {step}") for step in steps]
    folders = (
        ("keys/acme", "keys"),
        ("keys/acme/ada", "keys/acme"),
        ("adapters/acme/ada/objects",),
        ("adapters/acme/ada",),
    )
    assert {"sync adapters/acme/ada", "sync adapters/acme", "sync adapters"} <= set(first[: named[0]])
    assert named == sorted(named)
    for index, name, above in zip(named, steps, folders, strict=True):
        assert f"sync {name}" in first[:index]
        until = next((later for later in named if later > index), len(first))
        assert {f"sync {folder}" for folder in above} <= set(first[index:until]), name


def test_directory_store_put_again_makes_durable_what_an_earlier_put_left_undone(store, tmp_path, monkeypatch):
    store.put(ADA, sample_adapter(0))
    folder = pointer_of(tmp_path / "store").parent

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
    assert journal.events[-1] == "sync adapters/acme/ada"


def test_directory_store_makes_its_own_folder_durable(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(directory, "sync_folder", synced.append)
    DirectoryObjects(tmp_path / "data" / "store")

    assert set(synced) == {tmp_path, tmp_path / "data", tmp_path / "data" / "store"}


def log_is_whole(store: AdapterStore) -> bool:
    try:
        return store.verify_audit(ADA.scope).problems == []
    except StoreCorrupt:  # its key
        return False


@pytest.mark.parametrize("bit", range(0, 4000, 97))
def test_directory_store_never_serves_rotten_bytes(store, tmp_path, bit):
    digest = store.put(ADA, sample_adapter()).digest
    for path in files(tmp_path / "store"):
        original = path.read_bytes()
        rotten = bytearray(original)
        rotten[bit // 8 % len(rotten)] ^= 1 << bit % 8
        path.write_bytes(rotten)
        if "/.audit" in path.as_posix():
            assert not log_is_whole(opened(tmp_path / "store"))
        else:
            with pytest.raises(StoreCorrupt):
                opened(tmp_path / "store").get(ADA)
        path.write_bytes(original)
        assert log_is_whole(opened(tmp_path / "store"))

    assert opened(tmp_path / "store").get(ADA)[1].digest == digest


def test_directory_store_that_trusted_its_disk_would_serve_rotten_bytes(store, tmp_path, monkeypatch):
    # The twin of the test above.
    store.put(ADA, sample_adapter())
    path = object_of(tmp_path / "store")

    def trusting(data: bytes, *, key: sealing.DataKey, place: tuple[str, ...]) -> bytearray:
        counter = data[25:37] + (2).to_bytes(4, "big")  # as GCM encrypts where the nonce has 96 bits
        return bytearray(Cipher(algorithms.AES(key.secret), modes.CTR(counter)).decryptor().update(data[37:-16]))

    rotten = bytearray(path.read_bytes())
    rotten[-18] ^= 1
    path.write_bytes(rotten)
    monkeypatch.setattr(user_states, "unseal_buffer", trusting)

    assert store.get(ADA)[1].canonical_bytes() != sample_adapter().canonical_bytes()


def test_directory_store_says_when_a_file_is_cut_or_missing(store, tmp_path):
    store.put(ADA, sample_adapter())
    pointer, object_file = pointer_of(tmp_path / "store"), object_of(tmp_path / "store")
    data = object_file.read_bytes()
    for rest in (data[:-1], data[:20], b""):
        object_file.write_bytes(rest)
        with pytest.raises(StoreCorrupt):
            store.get(ADA)
    object_file.unlink()
    with pytest.raises(StoreCorrupt, match="missing"):
        store.get(ADA)
    pointer.write_bytes(pointer.read_bytes()[:-1])
    with pytest.raises(StoreCorrupt, match="changed"):
        store.head(ADA)


def test_directory_store_put_again_mends_a_rotten_object(store, tmp_path):
    put = store.put(ADA, sample_adapter())
    object_of(tmp_path / "store").write_bytes(b"rotten")

    assert store.put(ADA, sample_adapter()) == put
    assert store.get(ADA)[1].digest == put.digest
    assert store.sweep(ADA) == 0


def test_directory_store_deletes_what_it_can_no_longer_read(store, tmp_path):
    store.put(ADA, sample_adapter())
    pointer_of(tmp_path / "store").write_bytes(b"rotten")

    store.erase(ADA)
    assert of_users(tmp_path / "store") == []


def test_directory_store_refuses_what_was_copied_from_another_user(store, tmp_path):
    store.put(ADA, sample_adapter(0))
    store.put(ACME.user("bob"), sample_adapter(1))
    root = tmp_path / "store"
    whole = object_of(root).read_bytes()
    object_of(root).write_bytes(object_of(root, "bob").read_bytes())
    with pytest.raises(StoreCorrupt):
        store.get(ADA)

    object_of(root).write_bytes(whole)
    (key,) = (root / "keys/acme/bob").iterdir()
    (root / "keys/acme/ada" / key.name).write_bytes(key.read_bytes())
    pointer_of(root).write_bytes(pointer_of(root, "bob").read_bytes())
    with pytest.raises(StoreCorrupt, match="another place"):
        store.head(ADA)


def test_directory_store_delete_leaves_no_byte_of_the_user(store, tmp_path):
    store.put(ADA, sample_adapter(0))
    store.put(ADA, sample_adapter(1))
    store.put(ACME.user("ada2"), sample_adapter(2))
    # As a process killed in a write would leave it.
    (object_of(tmp_path / "store", "ada2").parent.parent.parent / "ada/objects/00.unfinished").write_bytes(b"persona")
    store.erase(ADA)

    assert not any((tmp_path / "store" / name / "acme/ada").exists() for name in ("adapters", "keys"))
    assert len(of_users(tmp_path / "store")) == 3


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
        opened(tmp_path / "file")


def test_directory_store_follows_no_link(store, tmp_path):
    store.put(ADA, sample_adapter())
    path = object_of(tmp_path / "store")
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(StoreUnavailable):
        store.get(ADA)
    store.erase(ADA)
    assert (tmp_path / "elsewhere").exists()


def test_directory_store_follows_no_link_to_a_folder(store, tmp_path):
    store.put(ADA, sample_adapter())
    for name in ("adapters", "keys"):
        folder = tmp_path / "store" / name / "acme/ada"
        folder.rename(tmp_path / name)
        folder.symlink_to(tmp_path / name)
        with pytest.raises(StoreUnavailable, match="link"):
            opened(tmp_path / "store").get(ADA)
        with pytest.raises(StoreUnavailable, match="link"):
            opened(tmp_path / "store").erase(ADA)
        folder.unlink()
        (tmp_path / name).rename(folder)
    assert opened(tmp_path / "store").get(ADA)[1].digest == sample_adapter().digest


def test_directory_store_takes_no_folder_that_cannot_be_listed_for_an_empty_one(store, tmp_path, monkeypatch):
    store.put(ADA, sample_adapter())
    scandir = os.scandir

    def failing(path: str) -> object:
        if str(path).endswith("keys/acme/ada"):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return scandir(path)

    with monkeypatch.context() as patch:
        # What os.walk calls.
        patch.setattr(os, "scandir", failing)
        for call in (lambda: store.rotate_tenant_key(ACME), lambda: store.erase(ADA)):
            with pytest.raises(StoreUnavailable, match="Too many open files"):
                call()
    assert opened(tmp_path / "store").get(ADA)[1].digest == sample_adapter().digest


def test_directory_store_waits_for_another_writer_only_so_long(store, tmp_path):
    store.put(ADA, sample_adapter(0))
    impatient = opened(tmp_path / "store", lock_timeout_s=0.05)
    held = [path.open("w") for path in (tmp_path / "store/adapters/.locks").iterdir()]
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

    assert all((tmp_path / "store" / name).stat().st_mode & 0o077 == 0 for name in ("adapters", "keys"))
    assert all(path.stat().st_mode & 0o077 == 0 for path in files(tmp_path / "store"))


def test_directory_store_lists_only_what_is_its_own(store, tmp_path):
    store.put(ADA, sample_adapter())
    tenant = tmp_path / "store/adapters/acme"
    (tenant / "Notes").mkdir()
    (tenant / "lost+found").mkdir()
    (tenant / ".DS_Store").write_text("")
    (tenant / "grace").mkdir()
    (tenant / "heidi").mkdir()
    (tenant / "heidi/pointer").write_text("somebody else's")
    (tenant / os.fsdecode(b"\xff")).mkdir()

    # Of one who has something that cannot be read, the owner is to hear.
    assert store.users(ACME) == ["ada", "heidi"]


def test_directory_store_raises_only_errors_of_ours_for_any_pointer(store, tmp_path):
    store.put(ADA, sample_adapter())
    path = pointer_of(tmp_path / "store")
    original = path.read_bytes()
    for rotten in (b"", b"[]", b"{}", b"null", b"\xff", b"{" * 99999, original[:37], original + b"x"):
        path.write_bytes(rotten)
        with pytest.raises(HypernetError) as caught:
            store.get(ADA)
        assert not isinstance(caught.value, AdapterNotFound)


def test_directory_store_says_that_a_format_is_from_the_future(store, tmp_path):
    store.put(ADA, sample_adapter())
    path = pointer_of(tmp_path / "store")
    data = bytearray(path.read_bytes())
    data[8] = 2
    path.write_bytes(data)

    with pytest.raises(StoreCorrupt, match="sealing format 2, this version reads 1"):
        store.get(ADA)


def test_directory_store_says_that_a_store_is_of_an_older_format(tmp_path):
    folder = tmp_path / "store/acme/ada"
    folder.mkdir(parents=True)
    (folder / "pointer.json").write_text("{}")

    with pytest.raises(StoreUnavailable, match="older version"):
        opened(tmp_path / "store")
