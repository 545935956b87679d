"""Training checkpoints that a kill cannot damage."""

from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO

from hypernet.durable_files import replace_file, sync_folder


class DurableCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside the old one and puts it in place in one step: whenever the process is killed, the file
    holds one of the two.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Put the whole checkpoint at ``path``, or leave what is there."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        buffer = BytesIO()
        torch.save(checkpoint, buffer)
        replace_file(target, buffer.getvalue())
        sync_folder(target.parent)
