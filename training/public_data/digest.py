"""Which revision of the public data was read."""

from hashlib import sha256
from pathlib import Path

from training.digests import files_digest
from training.public_data.folder import data_folder

_READ = (
    "synthetic_persona_chat/valid.csv",
    "fairytale_qa/section-stories/*/*.csv",
    "evals_persona/*.jsonl",
    "light_characters/characters.json",
)


def public_data_digest(data_dir: Path | None, *, used: bool) -> str:
    """SHA-256, in hex, over the names and contents of the public files that training reads; of nothing if unused.

    Raises:
        FileNotFoundError: no folder is named; see `data_folder`.
    """
    if not used:
        return sha256().hexdigest()
    folder = data_folder(data_dir)
    return files_digest([path for pattern in _READ for path in folder.glob(pattern)], root=folder)
