"""Writing an adapter where a user asked for it."""

from pathlib import Path

from hypernet.adapters import Adapter
from hypernet.errors import InvalidRequest


def write_adapter(adapter: Adapter, out: Path) -> None:
    """Writes `adapter` in PEFT format: a folder, or a zip archive where the name ends in `.zip`.

    Raises `Conflict` for a folder that holds something else and `InvalidRequest` where nothing can be written.
    """
    try:
        if out.suffix.lower() == ".zip":
            out.write_bytes(adapter.to_zip())
        else:
            adapter.save(out)
    except OSError as error:
        raise InvalidRequest(f"Cannot write {out}: {error.strerror}.") from error
