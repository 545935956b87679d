"""A base model of a few thousand random weights: every code path at no cost, for tests, benchmarks and dry runs."""

from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from hypernet.adapters import Adapter, LoraPair, Provenance
from hypernet.models.base_model import BaseModel

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def miniature_base_model(*, seed: int = 0, name: str = "miniature", **shape: Any) -> BaseModel:
    """A randomly initialised Llama with a byte-level tokenizer and chat template; the same weights for the same seed.

    `shape` overrides fields of `LlamaConfig`; the defaults are two layers of width 16 and a context of 256 tokens. The
    weights are drawn wide enough that different prompts give clearly different tokens.
    """
    tokenizer = byte_tokenizer()
    fields: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 256,
        "tie_word_embeddings": True,
        "initializer_range": 0.3,
    }
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        **{**fields, **shape},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = LlamaForCausalLM(config)
    return BaseModel(module, tokenizer, name=name, digest=f"{seed:064x}")


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token per byte of UTF-8, the control tokens of the chat template, and that template."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    control = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    backend = Tokenizer(BPE(vocab={token: i for i, token in enumerate(control + alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    pad, end, *roles = control
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend, pad_token=pad, eos_token=end, extra_special_tokens=roles
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def random_adapter(
    base: BaseModel,
    *,
    seed: int,
    rank: int = 4,
    target_modules: Sequence[str] = ("down_proj",),
    scaling: float = 1.0,
    strength: float = 0.5,
) -> Adapter:
    """A sound adapter for `base` with random values, another one for every seed.

    `strength` is about how large its update of an activation is, measured in that activation's own size.
    """
    generator = torch.Generator().manual_seed(seed)
    modules = {}
    for name, (d_in, d_out) in base.target_shapes(target_modules).items():
        a = torch.randn(rank, d_in, generator=generator) / d_in**0.5
        b = torch.randn(d_out, rank, generator=generator) * strength
        modules[name] = LoraPair(a=a, b=b)
    return Adapter(
        modules=modules,
        rank=rank,
        scaling=scaling,
        provenance=Provenance(
            base_model=base.name,
            base_model_digest=base.digest,
            hypernetwork="random",
            hypernetwork_digest="random",
            document_digest=f"{seed}",
            options={},
        ),
    )
