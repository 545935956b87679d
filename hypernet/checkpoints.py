"""Finding released checkpoints by name.

A checkpoint is a folder `<root>/<name>/` with `base/` (the base model) and `perceiver/` (the hypernetwork trained for
it). Only names are looked up here; what is inside is read and verified by `BaseModel.load` and `Generator`.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from hypernet.errors import CheckpointNotFound

ROOT_VARIABLE = "HYPERNET_CHECKPOINTS"

# A name becomes a folder name and the part of a model id before its first colon.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class CheckpointPaths:
    """Where one checkpoint lies. Both folders exist when `find` returns."""

    name: str
    base: Path
    perceiver: Path


def checkpoints_root() -> Path:
    """The folder that holds the checkpoints: `HYPERNET_CHECKPOINTS`, else `checkpoints/` next to the package."""
    configured = os.environ.get(ROOT_VARIABLE)
    if configured:
        return Path(configured).expanduser()
    return Path(__file__).resolve().parent.parent / "checkpoints"


def find(name: str, *, root: Path | None = None) -> CheckpointPaths:
    """The checkpoint called `name`; raises `CheckpointNotFound`, which names the folder looked in and what is there."""
    root = root or checkpoints_root()
    if not _NAME.fullmatch(name):
        raise CheckpointNotFound(
            f"Expected a checkpoint name of letters, digits, '.', '_' and '-', got {name[:80]!r}; "
            f"checkpoints in {root}: {_listing(root)}."
        )
    paths = CheckpointPaths(name=name, base=root / name / "base", perceiver=root / name / "perceiver")
    for folder in (paths.base, paths.perceiver):
        if not folder.is_dir():
            raise CheckpointNotFound(
                f"Expected the checkpoint {name!r} in {root}, but there is no folder {folder}; "
                f"checkpoints there: {_listing(root)}. Choose one of them, or set {ROOT_VARIABLE} to another folder."
            )
    return paths


def available(*, root: Path | None = None) -> list[str]:
    """Names of the checkpoints that have both folders, sorted; empty where the root does not exist."""
    root = root or checkpoints_root()
    if not root.is_dir():
        return []
    return sorted(
        folder.name
        for folder in root.iterdir()
        if _NAME.fullmatch(folder.name) and (folder / "base").is_dir() and (folder / "perceiver").is_dir()
    )


def _listing(root: Path) -> str:
    return ", ".join(available(root=root)) or "none"
