"""``python -m training``: fit, validate, test and export, from a YAML file."""

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import lightning
import torch
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.utilities import rank_zero_info


@runtime_checkable
class Exportable(Protocol):
    """What can be released: a module that writes itself in the format that the service loads."""

    def export(self, folder: Path, *, data: Any, steps: int) -> None:
        """Write the released files to ``folder``.

        Args:
            folder: an existing folder.
            data: the data module, set up.
            steps: optimiser steps that the weights have behind them.
        """


class Trainer(lightning.Trainer):
    """Lightning's trainer with one more verb."""

    def export(
        self, model: lightning.LightningModule, datamodule: lightning.LightningDataModule, ckpt_path: Path, output: Path
    ) -> None:
        """Write a released checkpoint from a training checkpoint.

        Args:
            model: what was trained.
            datamodule: the data it was trained on.
            ckpt_path: the training checkpoint.
            output: folder to write.
        """
        if not isinstance(model, Exportable):
            raise TypeError(f"Expected a module with an export method, got {type(model).__name__}.")
        state = torch.load(ckpt_path, map_location="cpu", weights_only=True)
        model.load_state_dict(state["state_dict"])
        datamodule.setup("fit")
        output.mkdir(parents=True, exist_ok=True)
        model.export(output, data=datamodule, steps=state["global_step"])
        rank_zero_info(f"Exported step {state['global_step']} to {output}")


class TrainingCLI(LightningCLI):
    """LightningCLI with ``export``; unknown keys stop the start."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Lightning's subcommands without ``predict``, and ours."""
        names = LightningCLI.subcommands()
        names.pop("predict", None)
        return {**names, "export": {"model", "datamodule"}}


def main(args: list[str] | None = None) -> None:
    """Run the command line.

    Args:
        args: command-line arguments; those of the process when not given.
    """
    TrainingCLI(trainer_class=Trainer, seed_everything_default=0, save_config_kwargs={"overwrite": True}, args=args)
