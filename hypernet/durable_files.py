"""Files that survive a crash: content is durable before a name points to it, and names are durable when asked."""

import os
import tempfile
from pathlib import Path


def replace_file(path: Path, data: bytes) -> None:
    """Puts a whole file in place in one step: a reader sees the old content or the new, after a crash too.

    The name itself is durable after `sync_folder(path.parent)`. A process killed meanwhile may leave a hidden file
    beside `path`. Raises: `OSError`.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        write_and_close(descriptor, data)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_and_close(descriptor: int, data: bytes | bytearray) -> None:
    """Writes all of `data` to an open file, makes it durable and closes the file, also where that fails.

    Raises: `OSError`.
    """
    try:
        remaining = memoryview(data)
        while remaining:
            remaining = remaining[os.write(descriptor, remaining) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder (files created, renamed, removed) durable. Raises: `OSError`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
