"""Training of a hypernetwork through a frozen base model."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from hypernet.hypernetworks import save_checkpoint
from hypernet.hypernetworks.hypernetwork import Chunks, Pairs
from hypernet.models.functional import LoraTensors
from training.architectures import Architecture, Perceiver
from training.callbacks.collapse_guard import MEAN_LOSS, OWN_LOSS
from training.collapse import Updates, mean_adapter
from training.frozen_base import OnFrozenBase
from training.objectives import (
    distillation_loss,
    other_person_loss,
    preference_loss,
    reply_log_probabilities,
    retention_loss,
    size_of_weights,
    supervised_loss,
    top_k,
)
from training.optimizers import MuonWithAdamW, warmup_hold_decay
from training.packing import IGNORED, PackedRows, packed_logits
from training.profiles_data import CaseBatch
from training.warm_start import start_from

_LENGTH_GROUPS = 3
_LEAST_GROUP = 8
"""Chunks are worked on in so many groups of like lengths, of at least so many chunks."""


def exact_conversations(logits: Tensor, rows: PackedRows, labels: Tensor) -> list[list[bool]]:
    """For every conversation of every document, whether greedy decoding would give all of its labelled tokens; true for
    one that has none.

    See ``pretraining.exact_replies`` for why the arg-max given the true tokens decides it.

    Args:
        logits: ``documents places vocab``.
        rows: the conversations.
        labels: ``documents places``, ``IGNORED`` where nothing is asked for.
    """
    wrong = (logits.argmax(-1) != labels) & (labels != IGNORED)
    return [
        [not bool(missed[of == number].any()) for number in range(int(of.max()) + 1)]
        for missed, of in zip(wrong, rows.conversations, strict=True)
    ]


@runtime_checkable
class Teaching(Protocol):
    """Data that can have the document beside the conversations, for a teacher to read.

    Attributes:
        teacher_tokens: the longest document with its conversations that the teacher reads, in tokens; none if 0.
    """

    teacher_tokens: int


@runtime_checkable
class TrainingData(Protocol):
    """What a released hypernetwork's manifest tells about its data."""

    seed: int

    @property
    def sources(self) -> list[str]:
        """Data sets with their licences."""

    @property
    def described(self) -> dict[str, Any]:
        """Sizes of the data and of its batches, as plain values."""

    @property
    def trained_chunks(self) -> int:
        """The most chunks that a document of training has."""


class HypernetworkTraining(OnFrozenBase):
    """A hypernetwork, trained so that the base model answers under the adapter as if it had read the document.

    Args:
        base: folder of the frozen base model; a checkpoint's ``base``, whose parent folder names it.
        architecture: which hypernetwork, and its sizes.
        start: folder of a released hypernetwork of the same architecture and sizes, whose weights training begins with,
            for another base model of the same shape or other data; a new one otherwise.
        target_modules: names of the linear layers that adapters change.
        chunk_tokens: longest chunk that a document is read in, in tokens.
        max_document_tokens: longest document that the released hypernetwork accepts, in tokens.
        supervised_weight: weight of the next-token loss on replies; 0 trains without it.
        distillation_weight: weight of the divergence from the base model with the document in its prompt, on the same
            replies; 0 trains without it.
        distillation_tokens: likeliest tokens of that teacher that are kept for each token of a reply.
        preference_weight: weight of the preference of replies in character over those out of it, where the data has
            pairs; 0 trains without it.
        preference_beta: number on that preference's log-odds, above 0: the less, the further an adapter may move from
            the bare model.
        other_person_weight: weight of the contrastive term that makes replies likelier under their own document's
            adapter than under another's; 0 trains without it.
        other_person_margin: difference beyond which that term has little left to gain, in nats a token.
        retention_weight: weight of the retention term; 0 trains without it.
        l1_weight: weight of the mean absolute entry of the B factors that documents write; 0 trains without it.
        learning_rate: peak learning rate, a step.
        warmup_steps: optimiser steps of linear rise.
        decay_share: share of the run, 0 to 1, at its end, over which the rate falls.
    """

    def __init__(
        self,
        base: Path,
        architecture: Architecture = Perceiver(),  # noqa: B008  (frozen, so sharing it is safe)
        start: Path | None = None,
        target_modules: tuple[str, ...] = ("down_proj",),
        chunk_tokens: int = 256,
        max_document_tokens: int = 16384,
        supervised_weight: float = 1.0,
        distillation_weight: float = 0.0,
        distillation_tokens: int = 16,
        preference_weight: float = 0.0,
        preference_beta: float = 0.1,
        other_person_weight: float = 0.0,
        other_person_margin: float = 1.0,
        retention_weight: float = 1.0,
        l1_weight: float = 0.2,
        learning_rate: float = 2e-3,
        warmup_steps: int = 60,
        decay_share: float = 0.4,
    ) -> None:
        super().__init__(base, target_modules)
        # A path is no plain value, and a training checkpoint must load without unpickling anything.
        self.save_hyperparameters(ignore=["base", "architecture", "start"])
        self.hypernetwork = architecture.build(self.base_model, self.base_model.target_shapes(target_modules))
        if start is not None:
            start_from(self.hypernetwork, Path(start))
        self.chunk_tokens = chunk_tokens
        self.max_document_tokens = max_document_tokens
        self.supervised_weight = supervised_weight
        self.distillation_weight = distillation_weight
        self.distillation_tokens = distillation_tokens
        self.preference_weight = preference_weight
        self.preference_beta = preference_beta
        self.other_person_weight = other_person_weight
        self.other_person_margin = other_person_margin
        self.retention_weight = retention_weight
        self.l1_weight = l1_weight
        self.learning_rate = learning_rate
        self.warmup_steps = warmup_steps
        self.decay_share = decay_share

    def setup(self, stage: str) -> None:
        """Ask the data for what the teacher reads, if there is one."""
        data = getattr(self.trainer, "datamodule", None)
        if self.distillation_weight and isinstance(data, Teaching):
            data.teacher_tokens = self.base_model.max_context_tokens

    def generate(self, batch: CaseBatch) -> tuple[Pairs, Pairs]:
        """What the chunks of the batch's documents write, and the adapters of the documents."""
        pairs = self._pairs(batch.chunks)
        return pairs, self.hypernetwork.join(pairs, batch.counts)

    def _pairs(self, chunks: Chunks) -> Pairs:
        """What the chunks write; worked out in groups of like lengths, which halves the padding."""
        lengths = chunks.mask.sum(1)
        order = lengths.argsort(stable=True)
        groups = order.tensor_split(max(1, min(_LENGTH_GROUPS, len(order) // _LEAST_GROUP)))
        written = [self._pairs_of(chunks, group, length=int(lengths[group[-1]])) for group in groups]
        back = order.argsort()
        return {
            name: (torch.cat([of[name][0] for of in written])[back], torch.cat([of[name][1] for of in written])[back])
            for name in written[0]
        }

    def _pairs_of(self, chunks: Chunks, group: Tensor, *, length: int) -> Pairs:
        texts = tuple(chunks.texts[index] for index in group.tolist())
        some = Chunks(texts=texts, ids=chunks.ids[group, :length], mask=chunks.mask[group, :length])
        written: Pairs = self.hypernetwork(self.hypernetwork.features(self.base_model, some))
        return written

    def logits(self, rows: PackedRows, lora: Mapping[str, LoraTensors] | None) -> Tensor:
        """Logits of the packed conversations under the adapters of their documents."""
        return packed_logits(self.adapted, rows, lora, scaling=self.hypernetwork.config.scaling)

    def training_step(self, batch: CaseBatch, batch_index: int) -> dict[str, Any]:
        """Loss on the replies under the adapters, the retention term, and the size of what was written."""
        pairs, lora = self.generate(batch)
        logits = self.logits(batch.rows, lora)
        loss = self._reply_losses(batch, logits, lora)
        if self.retention_weight and batch.retention is not None:
            with torch.no_grad():
                bare = self.logits(batch.retention, None)
            retention = retention_loss(logits, bare, batch.held, batch.retention.labels)
            self.log("retention_kl", retention, prog_bar=True)
            loss = loss + self.retention_weight * retention
        size = size_of_weights(pairs)
        self.log("size", size)
        return {"loss": loss + self.l1_weight * size, "updates": self._updates(lora)}

    def _reply_losses(self, batch: CaseBatch, logits: Tensor, lora: Pairs) -> Tensor:
        """What the replies under the adapters are trained for, weighted; every term that has a weight is logged."""
        labels = batch.rows.labels
        reply_loss = supervised_loss(logits, labels, batch.weights)
        self.log("reply_loss", reply_loss, prog_bar=True)
        loss = self.supervised_weight * reply_loss
        if self.distillation_weight and batch.teacher_rows is not None:
            told = batch.teacher_rows.labels
            with torch.no_grad():
                teacher = top_k(self.logits(batch.teacher_rows, None), told, k=self.distillation_tokens)
            # A document that the teacher's context cannot hold has no teacher.
            taught = labels.masked_fill((told == IGNORED).all(1, keepdim=True), IGNORED)
            distillation = distillation_loss(logits, taught, teacher, batch.weights)
            self.log("distillation_kl", distillation, prog_bar=True)
            loss = loss + self.distillation_weight * distillation
        if self.other_person_weight and len(batch.counts) > 1:
            other = self.logits(batch.rows, _of_others(lora))
            tokens = (labels != IGNORED).sum(1)
            own, theirs = (reply_log_probabilities(each, batch.rows).sum(1)[tokens > 0] for each in (logits, other))
            tokens = tokens[tokens > 0]
            contrast = other_person_loss(own / tokens, theirs / tokens, margin=self.other_person_margin)
            self.log("other_person", contrast)
            loss = loss + self.other_person_weight * contrast
        if self.preference_weight and batch.preferences is not None:
            preference = self._preference(batch.preferences, lora)
            self.log("preference", preference, prog_bar=True)
            loss = loss + self.preference_weight * preference
        return loss

    def _preference(self, rows: PackedRows, lora: Pairs) -> Tensor:
        """The preference objective on conversations that alternate between one in character and one out of it."""
        said = reply_log_probabilities(self.logits(rows, lora), rows)
        with torch.no_grad():
            bare = reply_log_probabilities(self.logits(rows, None), rows)
        chosen, rejected = said[:, 0::2], said[:, 1::2]
        bare_chosen, bare_rejected = bare[:, 0::2], bare[:, 1::2]
        there = bare_chosen < 0  # nothing that is said is certain; a document with fewer pairs has zeros
        return preference_loss(
            chosen[there],
            rejected[there],
            bare_chosen=bare_chosen[there],
            bare_rejected=bare_rejected[there],
            beta=self.preference_beta,
        )

    def _updates(self, lora: Pairs) -> Updates:
        pairs = {name: (a.detach(), b.detach()) for name, (a, b) in lora.items()}
        return Updates(pairs=pairs, common_ranks=self.hypernetwork.config.bias_rank)

    def validation_step(self, batch: CaseBatch, batch_index: int) -> dict[str, Any]:
        """Exact answers about held-out people, and the loss of their replies, under their own adapter, a neighbour's
        and the mean of the batch; and exact answers to general questions.
        """
        _, lora = self.generate(batch)
        losses = {"own": OWN_LOSS, "mean": MEAN_LOSS, "other": "loss/other"}
        arms = [("own", lora), ("mean", mean_adapter(lora))]
        # Alone in its batch a document has no other.
        arms += [("other", _of_others(lora))] if len(batch.counts) > 1 else []
        for arm, tensors in arms:
            hits: dict[str, list[bool]] = defaultdict(list)
            logits = self.logits(batch.rows, tensors)
            self.log(losses[arm], supervised_loss(logits, batch.rows.labels), batch_size=len(batch.counts))
            # Each document's last conversation is the general question: its labels are apart.
            asked = exact_conversations(logits, batch.rows, batch.rows.labels)
            general = exact_conversations(logits, batch.rows, batch.held)
            for exact, held, kinds in zip(asked, general, batch.kinds, strict=True):
                for hit, kind in zip(exact, kinds, strict=False):
                    hits[f"exact/{arm}/{kind}"].append(hit)
                    hits[f"exact/{arm}"].append(hit)
                hits[f"exact/{arm}/general"].append(all(held))
            for name, of_kind in hits.items():
                self._log_share(name, of_kind)
        return {"updates": self._updates(lora)}

    def test_step(self, batch: CaseBatch, batch_index: int) -> dict[str, Any]:
        """The same as validation, on the documents kept for the end."""
        return self.validation_step(batch, batch_index)

    def _log_share(self, name: str, hits: list[bool]) -> None:
        self.log(name, sum(hits) / len(hits), batch_size=len(hits), prog_bar=name == "exact/own")

    def configure_optimizers(self) -> Any:
        """Muon for the matrices, AdamW for latents, heads, scalers and norms; rise, plateau, fall."""
        matrices = [p for name, p in self.hypernetwork.named_parameters() if p.ndim == 2 and name.endswith(".weight")]
        taken = {id(p) for p in matrices}
        others = [p for p in self.hypernetwork.parameters() if id(p) not in taken]
        optimizer = MuonWithAdamW(matrices, others, lr=self.learning_rate, weight_decay=0.02)
        factor = warmup_hold_decay(total=self.trainer.max_steps, warmup=self.warmup_steps, decay_share=self.decay_share)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def export(self, folder: Path, *, data: TrainingData, steps: int, origin: Mapping[str, Any]) -> None:
        """Write the hypernetwork with its manifest, as ``hypernet.hypernetworks.load_checkpoint`` reads them."""
        save_checkpoint(
            self.hypernetwork,
            folder,
            target_modules=self.target_modules,
            base_model=self.base_model.name,
            base_model_digest=self.base_model.digest,
            max_document_tokens=self.max_document_tokens,
            chunk_tokens=self.chunk_tokens,
            trained_chunks=data.trained_chunks,
            strength=1.0,
            training={
                "steps": steps,
                **data.described,
                "retention_weight": self.retention_weight,
                "data": data.sources,
                "seed": data.seed,
                "origin": dict(origin),
            },
        )


def _of_others(lora: Pairs) -> Pairs:
    """For every document of the batch the adapter of another, from halfway round the batch: neighbours may be about the
    same person.
    """
    return {name: (a.roll(len(a) // 2, 0), b.roll(len(b) // 2, 0)) for name, (a, b) in lora.items()}
