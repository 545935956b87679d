"""Finding released checkpoints by name.

A checkpoint is a folder `<root>/<name>/` with `base/` (the base model) and a folder beside it for every hypernetwork
trained for it, called after its architecture. `name` stands for the default one, `perceiver/`; `name/mlp` for `mlp/`.
Only names are looked up here; what is inside is read and verified by `BaseModel.load` and `Generator`.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from hypernet.errors import CheckpointNotFound

ROOT_VARIABLE = "HYPERNET_CHECKPOINTS"

BASE_FOLDER, DEFAULT_FOLDER = "base", "perceiver"

# A name becomes a folder name, and what stands before a slash the part of a model id before its first colon.
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class CheckpointPaths:
    """Where one checkpoint lies. Both folders exist when `find` returns."""

    name: str
    """Of the hypernetwork: `tiny`, `tiny/mlp`."""
    base_name: str
    """Of the base model: `tiny`."""
    base: Path
    hypernetwork: Path


def checkpoints_root() -> Path:
    """The folder that holds the checkpoints: `HYPERNET_CHECKPOINTS`, else `checkpoints/` next to the package."""
    configured = os.environ.get(ROOT_VARIABLE)
    if configured:
        return Path(configured).expanduser()
    return Path(__file__).resolve().parent.parent / "checkpoints"


def find(name: str, *, root: Path | None = None) -> CheckpointPaths:
    """The checkpoint called `name`; raises `CheckpointNotFound`, which names the folder looked in and what is there.

    `tiny/perceiver` is found under its shorter name `tiny`.
    """
    root = root or checkpoints_root()
    base_name, slash, folder = name.partition("/")
    if not _PART.fullmatch(base_name) or (slash and (not _PART.fullmatch(folder) or folder == BASE_FOLDER)):
        raise CheckpointNotFound(
            f"Expected a checkpoint name of letters, digits, '.', '_' and '-', or one with an architecture as in "
            f"'tiny/mlp', got {name[:80]!r}; checkpoints in {root}: {_listing(root)}."
        )
    folder = folder or DEFAULT_FOLDER
    paths = CheckpointPaths(
        name=_name(base_name, folder),
        base_name=base_name,
        base=root / base_name / BASE_FOLDER,
        hypernetwork=root / base_name / folder,
    )
    for missing in (path for path in (paths.base, paths.hypernetwork) if not path.is_dir()):
        raise CheckpointNotFound(
            f"Expected the checkpoint {name!r} in {root}, but there is no folder {missing}; "
            f"checkpoints there: {_listing(root)}. Choose one of them, or set {ROOT_VARIABLE} to another folder."
        )
    return paths


def available(*, root: Path | None = None) -> list[str]:
    """Names of the checkpoints that have a base model and a hypernetwork, sorted; empty where there is no root."""
    root = root or checkpoints_root()
    if not root.is_dir():
        return []
    return sorted(
        _name(base.name, folder.name)
        for base in root.iterdir()
        if _PART.fullmatch(base.name) and (base / BASE_FOLDER).is_dir()
        for folder in base.iterdir()
        if _PART.fullmatch(folder.name) and folder.name != BASE_FOLDER and folder.is_dir()
    )


def _name(base_name: str, folder: str) -> str:
    return base_name if folder == DEFAULT_FOLDER else f"{base_name}/{folder}"


def _listing(root: Path) -> str:
    return ", ".join(available(root=root)) or "none"
