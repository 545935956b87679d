"""One digest for many files."""

import hashlib
from collections.abc import Iterable
from pathlib import Path


def files_digest(paths: Iterable[Path], *, root: Path) -> str:
    """SHA-256, in hex, over the names below ``root`` and the contents of files, whatever their order."""
    whole = hashlib.sha256()
    for path in sorted(paths):
        with path.open("rb") as stream:
            part = hashlib.file_digest(stream, "sha256").hexdigest()
        whole.update(f"{path.relative_to(root).as_posix()}\0{part}\n".encode())
    return whole.hexdigest()
