"""How long and how fast to fine-tune on a document: the two numbers of the oracle, chosen by the same commands."""

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hypernet.generators import write_finetune_checkpoint
from hypernet.hypernetworks import FinetuneConfig, FinetuneHypernetwork
from hypernet.hypernetworks.hypernetwork import Chunks
from training.frozen_base import OnFrozenBase
from training.objectives import supervised_loss
from training.packing import IGNORED, PackedRows, packed_logits
from training.profiles_data import CaseBatch


class FinetuneChoice(OnFrozenBase):
    """Fine-tuning has no weights of its own; what can be learnt is how to do it. Every document of training is learnt
    by heart at every rate and for every number of steps, and scored on questions that its fine-tuning did not see.

    Args:
        base: folder of the frozen base model; a checkpoint's ``base``, whose parent folder names it.
        target_modules: names of the linear layers that adapters change.
        rank: rank of the adapters.
        scaling: number that multiplies ``B A x``; a power of two.
        steps: numbers of optimiser steps to try, for each chunk.
        learning_rates: rates of the first step to try, plain numbers.
        chunk_tokens: longest chunk that a document is read in, in tokens; leaves room in the base model's context for a
            query and its answer.
        max_documents: number of documents after which the run ends, with the batch that reaches them.
    """

    def __init__(
        self,
        base: Path,
        target_modules: tuple[str, ...] = ("down_proj",),
        rank: int = 24,
        scaling: float = 4.0,
        steps: tuple[int, ...] = (20, 40, 80),
        learning_rates: tuple[float, ...] = (3e-3, 1e-2, 3e-2),
        chunk_tokens: int = 320,
        max_documents: int = 8,
    ) -> None:
        super().__init__(base, target_modules)
        self.save_hyperparameters(ignore=["base"])
        self.automatic_optimization = False
        self.shapes = self.base_model.target_shapes(target_modules)
        self.rank = rank
        self.scaling = scaling
        self.settings = tuple(product(steps, learning_rates))
        self.chunk_tokens = chunk_tokens
        self.max_documents = max_documents
        self.register_buffer("losses", torch.zeros(len(self.settings), dtype=torch.float64))
        self.register_buffer("documents", torch.zeros((), dtype=torch.long))

    def training_step(self, batch: CaseBatch, batch_index: int) -> None:
        """Learn the batch's documents in every way; not those of many chunks, or that nothing is asked about."""
        first = 0
        for index, count in enumerate(batch.counts):
            (text, *more), at = batch.chunks.texts[first : first + count], first
            first += count
            rows = PackedRows(*(part[index : index + 1] for part in batch.rows))
            if more or not text.strip() or bool((rows.labels == IGNORED).all()):
                continue
            chunk = Chunks(texts=(text,), ids=batch.chunks.ids[at : at + 1], mask=batch.chunks.mask[at : at + 1])
            for number, (steps, rate) in enumerate(self.settings):
                self.losses[number] += self._loss(chunk, rows, steps=steps, rate=rate)
            self.documents += 1
        best = int(self.losses.argmin())
        self.log("reply_loss", self.losses[best] / self.documents.clamp_min(1), prog_bar=True, batch_size=1)
        # Not by counting batches: Lightning reads a count of 1 as the share 1.0 now and then, and goes on for ever.
        if int(self.documents) >= self.max_documents:
            self.trainer.should_stop = True

    def _loss(self, chunk: Chunks, rows: PackedRows, *, steps: int, rate: float) -> Tensor:
        learner = FinetuneHypernetwork(self._config(steps=steps, rate=rate))
        with torch.enable_grad():
            features = learner.features(self.base_model, chunk)
        with torch.no_grad():
            lora = learner.join(learner(features), [1])
            logits = packed_logits(self.adapted, rows, lora, scaling=self.scaling)
            return supervised_loss(logits, rows.labels).double()

    def _config(self, *, steps: int, rate: float) -> FinetuneConfig:
        return FinetuneConfig(
            modules=tuple(self.shapes),
            d_in=tuple(d_in for d_in, _ in self.shapes.values()),
            d_out=tuple(d_out for _, d_out in self.shapes.values()),
            rank=self.rank,
            scaling=self.scaling,
            steps=steps,
            learning_rate=rate,
        )

    def configure_optimizers(self) -> None:
        """Nothing is optimised by the trainer; fine-tuning does its own."""
        return

    def export(self, folder: Path, *, data: Any, steps: int, origin: Mapping[str, Any]) -> None:
        """Write the best way as a checkpoint that ``hypernet.generators.load`` reads."""
        if not int(self.documents):
            raise ValueError("Expected a training checkpoint of a run that has seen documents, this one has seen none.")
        chosen_steps, rate = self.settings[int(self.losses.argmin())]
        write_finetune_checkpoint(
            self.base_model,
            folder,
            target_modules=self.target_modules,
            chunk_tokens=self.chunk_tokens,
            rank=self.rank,
            scaling=self.scaling,
            steps=chosen_steps,
            learning_rate=rate,
            origin=origin,
        )
