"""Where trained weights come from: configuration, data, code and base model, inside every checkpoint."""

import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import lightning
import yaml
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.utilities import rank_zero_warn

from hypernet.errors import CheckpointMismatch
from hypernet.models import BaseModel
from training.digests import files_digest

KEY = "origin"
"""Under which a training checkpoint and a released manifest keep it."""

_SOURCES = Path(__file__).parent


@runtime_checkable
class OnBaseModel(Protocol):
    """A module that trains something for a frozen base model."""

    @property
    def base_model(self) -> BaseModel:
        """The frozen base model."""


@runtime_checkable
class Digested(Protocol):
    """A data module that names its data."""

    @property
    def digest(self) -> str:
        """SHA-256 over everything that decides its batches, apart from the configuration and the code."""


def origin(
    module: lightning.LightningModule, data: lightning.LightningDataModule | None, *, config: Mapping[str, Any]
) -> dict[str, Any]:
    """Plain values that say how weights came to be.

    ``config`` as resolved, ``data_digest`` and ``base_model_digest`` (null where there is none), and ``code``: version
    of the package, commit of the checkout (null outside one; ends in ``+changes`` if files were changed since) and the
    digest of the training sources.
    """
    return {
        "config": dict(config),
        "data_digest": data.digest if isinstance(data, Digested) else None,
        "base_model_digest": _base_model_digest(module),
        "code": {"version": _version(), "commit": _commit(), "sources_digest": files_digest(_sources(), root=_SOURCES)},
    }


def check_base_model(found: Mapping[str, Any], module: lightning.LightningModule) -> None:
    """Raises `CheckpointMismatch` if weights of this origin were trained for another base model than ``module`` has."""
    expected, given = found.get("base_model_digest"), _base_model_digest(module)
    if expected and given and expected != given:
        raise CheckpointMismatch(
            f"The training checkpoint is for the base model with digest {expected[:16]}…, the configuration names one "
            f"with {given[:16]}…. Point `model.init_args.base` to the base model that the run began "
            "with, or start a new run."
        )


class RecordOrigin(SaveConfigCallback):
    """Puts the origin into every checkpoint of the run, and refuses to resume on another base model."""

    _origin: dict[str, Any] | None = None

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the origin; found once, since it is that of the running code and data."""
        if self._origin is None:
            self._origin = origin(pl_module, _data(trainer), config=self.resolved())
        checkpoint[KEY] = self._origin

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Check the base model; warn where data or code are not those that the run began with."""
        found = checkpoint.get(KEY, {})
        check_base_model(found, pl_module)
        if not found:
            return
        now = origin(pl_module, _data(trainer), config={})
        digests = {
            "data": (found["data_digest"], now["data_digest"]),
            "training code": (found["code"]["sources_digest"], now["code"]["sources_digest"]),
        }
        for what, (then, today) in digests.items():
            if then != today:
                rank_zero_warn(
                    f"The {what} changed since the checkpoint was written ({then} then, {today} now): the run goes on, "
                    "but not as it would have."
                )

    def resolved(self) -> dict[str, Any]:
        """The configuration with every default, as plain values."""
        values: dict[str, Any] = yaml.safe_load(self.parser.dump(self.config, skip_none=False))
        return values


def _data(trainer: lightning.Trainer) -> lightning.LightningDataModule | None:
    found: lightning.LightningDataModule | None = getattr(trainer, "datamodule", None)
    return found


def _base_model_digest(module: object) -> str | None:
    return module.base_model.digest if isinstance(module, OnBaseModel) else None


def _sources() -> list[Path]:
    return [path for path in _SOURCES.rglob("*") if path.suffix in (".py", ".yaml")]


def _version() -> str:
    try:
        return version("hypernet")
    except PackageNotFoundError:
        return "unknown"


def _commit() -> str | None:
    def git(*arguments: str) -> str:
        done = subprocess.run(  # noqa: S603  (fixed arguments)
            ["git", "-C", str(_SOURCES), *arguments],  # noqa: S607  (whichever git is installed)
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".")
        return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None
