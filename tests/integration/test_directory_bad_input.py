"""What the directory store makes of a disk that is full or read-only, and of files that it did not write."""

import errno
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from unittest import mock

import pytest

from hypernet.durable_files import write_and_close
from hypernet.errors import StoreCorrupt, StoreUnavailable
from hypernet.storage import AdapterStore
from hypernet.storage.directory import DirectoryObjects
from tests.samples import sample_adapter
from tests.storages import ACME, ADA, ROOT_KEYS

FIRST, SECOND = (sample_adapter(seed, d_in=2000) for seed in range(2))
PAGE_BYTES = 4096
NOBODY = 65534


def opened(root: Path) -> AdapterStore:
    return AdapterStore.in_directory(root, provider=ROOT_KEYS)


def mounted(*arguments: str | Path) -> bool:
    """Whether a mount was made; only the superuser may, and not in every container."""
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0  # noqa: S607


def unmount(folder: Path) -> None:
    subprocess.run(["umount", folder], check=True)  # noqa: S607


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk of two megabytes."""
    if not mounted("-t", "tmpfs", "-o", "size=2m", "none", folder):
        pytest.skip("needs to mount a file system, which takes the superuser")
    try:
        yield folder
    finally:
        unmount(folder)


def fill(disk: Path, *, room: int) -> Path:
    """Takes all space but for so many pages; the file that does."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(PAGE_BYTES))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        file.truncate(max(0, file.tell() - room * PAGE_BYTES))
    return filler


def put_second(root: Path) -> str:
    """What came of a put; that the disk is full has to be said, and the version before has to be served."""
    try:
        outcome = _put_second(root)
        stored, adapter = opened(root).get(ADA)
    except StoreCorrupt:
        return "broken: pointer"
    expected = {"kept": (1, FIRST.digest), "made": (2, SECOND.digest)}
    return outcome if expected.get(outcome) == (stored.version, adapter.digest) else f"broken: {outcome}"


def _put_second(root: Path) -> str:
    try:
        opened(root).put(ADA, SECOND)
    except StoreUnavailable as error:
        return "kept" if "No space left on device" in error.message and "ada" not in error.message else error.message
    return "made"


def leftovers(root: Path) -> int:
    """How many files of the user nothing refers to, after a sweep."""
    store = opened(root)
    list(store.sweep_tenant(ACME))
    files = [path for name in ("adapters", "keys") for path in (root / name / ADA.prefix).rglob("*") if path.is_file()]
    return len(files) - len(store.versions(ADA)) - 2  # the pointer and the user's key


def outcomes_on_a_full_disk(folder: Path) -> list[tuple[str, int]]:
    """What came of a put with each amount of room, from none to enough."""
    found: list[tuple[str, int]] = []
    while not found or found[-1][0] == "kept":
        with small_disk(folder) as disk:
            root = disk / "store"
            opened(root).put(ADA, FIRST)
            filler = fill(disk, room=len(found))
            outcome = put_second(root)
            filler.unlink()
            found.append((outcome, -1 if outcome.startswith("broken") else leftovers(root)))
    return found


def test_directory_store_on_a_full_disk_keeps_the_version_before_and_leaves_nothing_behind(tmp_path):
    found = outcomes_on_a_full_disk(tmp_path)

    assert len(found) > 8  # the second adapter alone takes as many pages
    assert set(found) == {("kept", 0), ("made", 0)}


@contextmanager
def full_from(number: int) -> Iterator[None]:
    """From that write on, only the first half of the bytes finds room."""
    write, left = os.write, number

    def halving(descriptor: int, data: memoryview) -> int:
        nonlocal left
        left -= 1
        if left >= 0:
            return write(descriptor, data)
        if left < -1 or len(data) < 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data[: len(data) // 2])

    with mock.patch.object(os, "write", halving):
        yield


def outcomes_of_a_disk_that_fills_up(folder: Path) -> list[tuple[str, int]]:
    """What came of a put, for each write of it in the middle of which no room was left."""
    found: list[tuple[str, int]] = []
    while not found or found[-1][0] == "kept":
        root = folder / str(len(found))
        opened(root).put(ADA, FIRST)
        with full_from(len(found)):
            outcome = put_second(root)
        found.append((outcome, -1 if outcome.startswith("broken") else leftovers(root)))
    return found


def test_directory_store_whose_disk_fills_up_in_the_middle_of_any_file_keeps_the_version_before(tmp_path):
    found = outcomes_of_a_disk_that_fills_up(tmp_path)

    assert len(found) > 2  # an object and a pointer at least
    assert set(found) == {("kept", 0), ("made", 0)}


def write_in_place(self: DirectoryObjects, path: Path, data: bytes) -> None:
    """The defect of writing a file under its final name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    write_and_close(descriptor, data)


def test_directory_store_that_wrote_in_place_would_lose_its_pointer_when_the_disk_fills_up(tmp_path):
    # The twin.
    with mock.patch.object(DirectoryObjects, "_place", write_in_place):
        assert outcomes_of_a_disk_that_fills_up(tmp_path)[-1] == ("broken: pointer", -1)


@contextmanager
def read_only_mount(root: Path) -> Iterator[str]:
    if not mounted("--bind", root, root):
        pytest.skip("needs to mount a file system, which takes the superuser")
    try:
        if not mounted("-o", "remount,ro,bind", root):
            pytest.skip("needs to mount a file system read-only")
        yield "Read-only file system"
    finally:
        unmount(root)


@contextmanager
def without_permission(root: Path) -> Iterator[str]:
    """Everything may be read and nothing written, by a user for whom permissions count."""
    paths = [root, *root.rglob("*")]
    was_superuser = os.geteuid() == 0
    for path in paths:
        if was_superuser:
            os.chown(path, NOBODY, NOBODY)
        path.chmod(0o500 if path.is_dir() else 0o400)
    if was_superuser:
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
    try:
        yield "Permission denied"
    finally:
        if was_superuser:
            os.seteuid(0)
            os.setegid(0)
        for path in paths:
            path.chmod(0o700)


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that every user of the machine gets to, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp(prefix="hypernet-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("read_only", [read_only_mount, without_permission])
def test_directory_store_that_is_read_only_says_so_and_can_be_read(reachable: Path, read_only):
    root = reachable / "store"
    before = opened(root)
    before.put(ADA, FIRST)
    before.put(ADA, SECOND)
    assert before.get(ADA)[1].digest == SECOND.digest
    before.rotate_tenant_key(ACME)  # whatever else is imported late is imported now
    with read_only(root) as reason:
        for store in (before, opened(root)):
            for call in (
                lambda store=store: store.put(ADA, FIRST),
                lambda store=store: store.put(ACME.user("bob"), FIRST),
                lambda store=store: store.activate(ADA, 1),
                lambda store=store: store.erase(ADA),
                lambda store=store: store.rotate_tenant_key(ACME),
                store.check,
            ):
                with pytest.raises(StoreUnavailable, match=f"{reason}.*permissions"):
                    call()
            assert store.get(ADA)[1].digest == SECOND.digest
            assert store.get(ADA, version=1)[1].digest == FIRST.digest
            assert store.users(ACME) == ["ada"]
    assert opened(root).put(ADA, FIRST).version == 3
    assert leftovers(root) == 0


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made, chdir(path.parent):  # a socket's path may not be long
        made.bind(path.name)


def _file(path: Path) -> None:
    path.write_bytes(b"foreign")


def _folder(path: Path) -> None:
    path.mkdir()
    (path / "inside").write_bytes(b"foreign")


@pytest.mark.parametrize("place", ["adapters", "keys"])
@pytest.mark.parametrize("make", [_pipe, _file, _folder])
@pytest.mark.parametrize(
    "name",
    [
        "notes.txt",
        "zoe/notes.txt",
        "zoe/objects/notes.txt",
        "zoe/objects/new\nline",
        b"zoe/objects/\xff",
        b"\xff",
        "zoe/~",
    ],
)
def test_directory_store_works_beside_files_that_somebody_else_has_put_there(tmp_path, place, make, name):
    store = opened(tmp_path)
    for user in ("Ada", "zoe"):
        store.put(ACME.user(user), FIRST)
    path = tmp_path / place / "acme" / os.fsdecode(name)
    path.parent.mkdir(exist_ok=True, parents=True)
    make(path)

    again = opened(tmp_path)
    assert again.users(ACME) == ["Ada", "zoe"]
    assert again.rotate_tenant_key(ACME) == 2
    list(again.sweep_tenant(ACME))
    assert {again.get(ACME.user(user))[1].digest for user in ("Ada", "zoe")} == {FIRST.digest}
    again.erase(ACME.user("zoe"))
    assert not (tmp_path / place / "acme/zoe").exists()
    assert again.users(ACME) == ["Ada"]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("make", [_pipe, _file, _folder, _socket])
def test_directory_store_goes_on_beside_something_else_where_a_pointer_would_be(tmp_path, make: Callable[[Path], None]):
    store = opened(tmp_path)
    store.put(ADA, FIRST)
    (tmp_path / "adapters/acme/bob").mkdir()
    make(tmp_path / "adapters/acme/bob/pointer")

    assert store.users(ACME) == ["ada", "bob"]
    with pytest.raises(StoreCorrupt, match=r"not one of this store|there is something else"):
        store.get(ACME.user("bob"))
    assert None in list(store.sweep_tenant(ACME))
    assert store.get(ADA)[1].digest == FIRST.digest
