"""The folder of public data sets."""

import os
from pathlib import Path


def data_folder(given: Path | None) -> Path:
    """The folder of public data sets: ``given``, or else the one that ``HYPERNET_DATA_DIR`` names.

    Raises:
        FileNotFoundError: neither is set.
    """
    named = given or os.environ.get("HYPERNET_DATA_DIR")
    if not named:
        raise FileNotFoundError(
            "Expected a folder of data sets in `data_dir` or HYPERNET_DATA_DIR, found neither. Set one of them, or set "
            "`public_data: false` to train on the made-up world alone."
        )
    return Path(named)


def present(path: Path, *, source: str) -> Path:
    """``path``, if it exists.

    Raises:
        FileNotFoundError: it does not; the message says that ``source`` has it.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"Expected public data at {path}, found nothing. Get it from {source} on GitHub, or set "
            "`public_data: false` to train without it."
        )
    return path
