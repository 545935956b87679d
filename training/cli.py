"""``python -m training``: fit, validate, test and export, from a YAML file."""

from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.cli import LightningCLI


class Trainer(lightning.Trainer):
    """Lightning's trainer with one more verb."""

    def export(self, model: lightning.LightningModule, datamodule: Any, ckpt_path: str, output: Path) -> None:
        """Write a released checkpoint from a training checkpoint.

        Args:
            model: what was trained; it must have an ``export(folder)`` method.
            datamodule: the data it was trained on.
            ckpt_path: the training checkpoint.
            output: folder to write.
        """
        state = torch.load(ckpt_path, map_location="cpu", weights_only=True)
        model.load_state_dict(state["state_dict"])
        model.trainer = self
        datamodule.trainer = self
        self.datamodule = datamodule
        datamodule.setup("fit")
        output.mkdir(parents=True, exist_ok=True)
        model.export(output)
        print(f"Exported to {output} from step {state['global_step']}.")


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
