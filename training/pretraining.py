"""Pre-training of a small base model from nothing."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from torch import Tensor
from torch.nn import functional

from training.optimizers import MuonWithAdamW, warmup_hold_decay
from training.pretraining_data import InterviewBatch, PretrainingData, WeightedBatch

_EXPORT_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def exact_replies(logits: Tensor, input_ids: Tensor, replies: Tensor) -> list[bool]:
    """Whether greedy decoding would give each reply to the letter.

    Every token of the reply is the arg-max given the true ones before it, which holds exactly when greedy decoding,
    started at the reply, produces it.

    Args:
        logits: ``batch tokens vocab``.
        input_ids: ``batch tokens``.
        replies: ``replies 3``: row, first token and end of each.
    """
    hits = logits[:, :-1].argmax(-1) == input_ids[:, 1:]
    return [bool(hits[row, start - 1 : end - 1].all()) for row, start, end in replies.tolist()]


class BaseModelPretraining(lightning.LightningModule):
    """A Llama-architecture causal LM, trained from random weights.

    Args:
        vocab_size: number of entries of the tokenizer.
        hidden_size: width of the residual stream, in numbers a token.
        intermediate_size: width of the MLP, in numbers a token.
        num_hidden_layers: depth, in layers.
        num_attention_heads: number of attention heads a layer.
        context_tokens: longest sequence, in tokens.
        learning_rate: peak learning rate, a step.
        warmup_steps: optimiser steps of linear rise.
        decay_share: share of the run, 0 to 1, at its end, over which the rate falls.
        export_type: number type of the released weights.
    """

    def __init__(
        self,
        vocab_size: int = 2048,
        hidden_size: int = 256,
        intermediate_size: int = 1024,
        num_hidden_layers: int = 4,
        num_attention_heads: int = 4,
        context_tokens: int = 1024,
        learning_rate: float = 3e-3,
        warmup_steps: int = 60,
        decay_share: float = 0.3,
        export_type: Literal["float32", "bfloat16"] = "float32",
    ) -> None:
        super().__init__()
        from transformers import LlamaConfig, LlamaForCausalLM

        self.save_hyperparameters()
        self.learning_rate = learning_rate
        self.warmup_steps = warmup_steps
        self.decay_share = decay_share
        self.export_type = export_type
        config = LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=hidden_size,
            intermediate_size=intermediate_size,
            num_hidden_layers=num_hidden_layers,
            num_attention_heads=num_attention_heads,
            num_key_value_heads=num_attention_heads,
            max_position_embeddings=context_tokens,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=1,
            pad_token_id=0,
        )
        self.model = LlamaForCausalLM(config)

    def training_step(self, batch: WeightedBatch, batch_index: int) -> Tensor:
        """Weighted next-token loss. Padding is on the right, so causal attention needs no mask."""
        logits = self.model(input_ids=batch.input_ids, use_cache=False).logits
        losses = functional.cross_entropy(
            logits[:, :-1].flatten(0, 1).float(), batch.input_ids[:, 1:].flatten(), reduction="none"
        )
        weights = batch.weights[:, 1:].flatten()
        loss = (losses * weights).sum() / weights.sum()
        replies = weights >= 0.99
        self.log("loss", loss, prog_bar=True)
        self.log("reply_loss", losses[replies].mean(), prog_bar=True)
        return loss

    def validation_step(self, batch: InterviewBatch, batch_index: int) -> None:
        """Share of replies that greedy decoding gives to the letter, held-out people in the prompt."""
        logits = self.model(input_ids=batch.input_ids, use_cache=False).logits
        exact = exact_replies(logits, batch.input_ids, batch.replies)
        for kind in sorted(set(batch.kinds)):
            hits = [hit for hit, of in zip(exact, batch.kinds, strict=True) if of == kind]
            self.log(f"exact/{kind}", sum(hits) / len(hits), batch_size=len(hits), on_epoch=True)
        self.log("exact", sum(exact) / len(exact), batch_size=len(exact), on_epoch=True, prog_bar=True)

    def configure_optimizers(self) -> Any:
        """Muon for the layers' matrices, AdamW for embeddings and norms; rise, plateau, fall."""
        matrices = [
            p
            for name, p in self.model.named_parameters()
            if p.ndim == 2 and "embed" not in name and "lm_head" not in name
        ]
        taken = {id(p) for p in matrices}
        others = [p for p in self.model.parameters() if id(p) not in taken]
        optimizer = MuonWithAdamW(matrices, others, lr=self.learning_rate, weight_decay=0.05)
        factor = warmup_hold_decay(total=self.trainer.max_steps, warmup=self.warmup_steps, decay_share=self.decay_share)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def test_step(self, batch: InterviewBatch, batch_index: int) -> None:
        """The same as validation, with other held-out people."""
        self.validation_step(batch, batch_index)

    def export(self, folder: Path, *, data: PretrainingData, steps: int, origin: Mapping[str, Any]) -> None:
        """Write the model and its tokenizer so that ``AutoModelForCausalLM.from_pretrained(folder)`` loads them, and
        beside them, in ``training.json``, how they came to be.
        """
        self.model.generation_config.update(
            eos_token_id=self.model.config.eos_token_id, pad_token_id=self.model.config.pad_token_id
        )
        self.model.to(_EXPORT_TYPES[self.export_type]).save_pretrained(folder)
        data.tokenizer.save_pretrained(folder)
        told = {"steps": steps, "data": data.sources, "seed": data.seed, "origin": dict(origin)}
        (folder / "training.json").write_text(json.dumps(told, indent=2) + "\n")
