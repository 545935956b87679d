"""A module that trains something through a frozen base model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import torch

from hypernet.models import AdaptedModel, BaseModel


class OnFrozenBase(lightning.LightningModule):
    """Holds the base model, which is no part of what is trained, saved or counted, and takes it along wherever it goes
    itself.

    Args:
        base: folder of the frozen base model; a checkpoint's ``base``, whose parent folder names it.
        target_modules: names of the linear layers that adapters change.
    """

    def __init__(self, base: Path, target_modules: tuple[str, ...]) -> None:
        super().__init__()
        folder = Path(base).resolve()
        # Held, not registered. In float32 whatever the files hold: precision is the trainer's to lower.
        loaded = BaseModel.load(folder, name=folder.parent.name, dtype=torch.float32)
        self._held: dict[str, Any] = {"base": loaded, "adapted": AdaptedModel(loaded, target_modules)}
        self.target_modules = tuple(target_modules)

    @property
    def base_model(self) -> BaseModel:
        """The frozen base model."""
        base: BaseModel = self._held["base"]
        return base

    @property
    def adapted(self) -> AdaptedModel:
        """The base model, opened for LoRA tensors."""
        adapted: AdaptedModel = self._held["adapted"]
        return adapted

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Any:
        """What moves this module to a device, by whichever of torch's ways, moves the base model too."""
        self.base_model.module._apply(fn, recurse)
        return super()._apply(fn, recurse)
