"""``python -m training``: fit, validate, test and export, from a YAML file; and rows, from public data."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import lightning
import torch
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.utilities import rank_zero_info

from hypernet.errors import CheckpointInvalid, CheckpointNotFound, HypernetError
from training.callbacks import HypernetworkCollapsed
from training.durable_checkpoints import DurableCheckpointIO
from training.origin import KEY, RecordOrigin, check_base_model
from training.rows import RowsInvalid


@runtime_checkable
class Exportable(Protocol):
    """What can be released: a module that writes itself in the format that the service loads."""

    def export(self, folder: Path, *, data: Any, steps: int, origin: Mapping[str, Any]) -> None:
        """Write the released files to ``folder``.

        Args:
            folder: an existing folder.
            data: the data module, set up.
            steps: optimiser steps that the weights have behind them.
            origin: plain values that say how the weights came to be; see `training.origin.origin`.
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
            ckpt_path: the training checkpoint, a file.
            output: folder to write; made if it does not exist.
        """
        if not isinstance(model, Exportable):
            raise TypeError(f"Expected a module with an export method, got {type(model).__name__}.")
        if not Path(ckpt_path).is_file():
            raise CheckpointNotFound(f"Expected a training checkpoint at {ckpt_path}, found no file there.")
        state = torch.load(ckpt_path, map_location="cpu", weights_only=True)
        found = state.get(KEY, {})
        check_base_model(found, model)
        try:
            model.load_state_dict(state["state_dict"])
        except RuntimeError as error:
            raise CheckpointInvalid(
                f"The weights in {ckpt_path} do not fit the model of the configuration; export with the configuration "
                "that the run had."
            ) from error
        datamodule.setup("fit")
        output.mkdir(parents=True, exist_ok=True)
        model.export(output, data=datamodule, steps=state["global_step"], origin=found)
        rank_zero_info(f"Exported step {state['global_step']} to {output}")


class TrainingCLI(LightningCLI):
    """LightningCLI with ``export``; unknown keys stop the start, and every checkpoint says where it comes from."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Lightning's subcommands without ``predict``, and ours."""
        names = LightningCLI.subcommands()
        names.pop("predict", None)
        return {**names, "export": {"model", "datamodule"}}

    def instantiate_trainer(self, **kwargs: Any) -> lightning.Trainer:
        """The trainer of the configuration; its checkpoints are whole whenever it is killed."""
        plugins = list(self._get(self.config_init, "trainer", default={}).get("plugins") or [])
        return super().instantiate_trainer(**{"plugins": [*plugins, DurableCheckpointIO()], **kwargs})


def main(args: list[str] | None = None) -> None:
    """Run the command line; an error of this project ends it with its message and status 1.

    Args:
        args: command-line arguments; those of the process when not given.
    """
    given = sys.argv[1:] if args is None else args
    try:
        if given[:1] == ["rows"]:
            from training.rows_command import rows

            rows(given[1:])
        else:
            run(args)
    except (HypernetError, HypernetworkCollapsed, RowsInvalid, FileNotFoundError) as error:
        sys.exit(f"error: {error}")


def run(args: list[str] | None) -> TrainingCLI:
    """One subcommand of `TrainingCLI` with these arguments, or those of the process."""
    # Lightning 2.6 calls jsonargparse 4.53 in ways that it deprecates; nobody here can help it.
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    return TrainingCLI(
        trainer_class=Trainer,
        seed_everything_default=0,
        save_config_callback=RecordOrigin,
        save_config_kwargs={"overwrite": True},
        args=args,
    )
