"""The mean adapter of a population: what every hypernetwork is compared with, trained by the same commands."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor

from hypernet.generators import Generator, load
from hypernet.generators.releasing import weight_updates, write_mean_of_updates
from hypernet.models import BaseModel
from training.profiles_data import CaseBatch


class PopulationMean(lightning.LightningModule):
    """The mean weight update of the documents of training, as another hypernetwork writes them. One pass over so many
    documents is all that there is to learn.

    Args:
        start: folder of the released hypernetwork whose adapters are averaged, beside its ``base``.
        rank: rank that the mean is released with, the nearest of that rank; null releases it exactly.
        max_documents: number of documents after which the run ends, with the batch that reaches them.
    """

    def __init__(self, start: Path, rank: int | None = 64, max_documents: int = 512) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["start"])
        self.automatic_optimization = False
        self.rank = rank
        self.max_documents = max_documents
        folder = Path(start).resolve()
        # Held, not registered: it is not what is trained.
        self._held: dict[str, Generator] = {
            "start": load(f"{folder.parent.name}/{folder.name}", root=folder.parent.parent)
        }
        config = self.start.hypernetwork.config
        for index, (d_in, d_out) in enumerate(zip(config.d_in, config.d_out, strict=True)):
            self.register_buffer(f"total_{index}", torch.zeros(d_out, d_in, dtype=torch.float64))
        self.register_buffer("people", torch.zeros((), dtype=torch.long))

    @property
    def start(self) -> Generator:
        """Whose adapters are averaged."""
        return self._held["start"]

    @property
    def base_model(self) -> BaseModel:
        """The frozen base model."""
        return self.start.base

    def training_step(self, batch: CaseBatch, batch_index: int) -> None:
        """Add the batch's documents; those without a word say nothing and count for nothing."""
        chunks = iter(batch.chunks.texts)
        documents = ["\n".join(islice(chunks, count)) for count in batch.counts]
        for document in documents:
            if document.strip():
                updates = weight_updates(self.start, document)
                for name, total in self._totals().items():
                    total += updates[name].to(total.device)
                self.people += 1
        self.log("people", self.people.float(), prog_bar=True, batch_size=len(documents))
        # Not by counting batches: Lightning reads a count of 1 as the share 1.0 now and then, and goes on for ever.
        if int(self.people) >= self.max_documents:
            self.trainer.should_stop = True

    def configure_optimizers(self) -> None:
        """Nothing is optimised."""
        return

    def export(self, folder: Path, *, data: Any, steps: int, origin: Mapping[str, Any]) -> None:
        """Write the mean as a checkpoint that ``hypernet.generators.load`` reads."""
        people = int(self.people)
        if not people:
            raise ValueError("Expected a training checkpoint of a run that has seen documents, this one has seen none.")
        mean = {name: total.cpu() / people for name, total in self._totals().items()}
        write_mean_of_updates(self.start, mean, folder, people=people, rank=self.rank, origin=origin)

    def _totals(self) -> dict[str, Tensor]:
        modules = self.start.hypernetwork.config.modules
        return {name: self.get_buffer(f"total_{index}") for index, name in enumerate(modules)}
