"""LoRA pairs fitted to a few examples by gradient descent: what a hypernetwork does in one pass, the ordinary way."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from hypernet.models.base_model import BaseModel

Factors = dict[str, tuple[Tensor, Tensor]]
"""A `[rank, d_in]` and B `[d_out, rank]` by full module name."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Teacher:
    """What another model says of each token of a reply: its likeliest tokens there and how likely they are."""

    ids: Int[Tensor, "reply k"]
    log_probs: Float[Tensor, "reply k"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """Tokens that are given, and the tokens to be said after them."""

    prompt_ids: tuple[int, ...]
    """At least one."""
    reply_ids: tuple[int, ...]
    teacher: Teacher | None = None
    """Where there is one, its probabilities are learned instead of the reply's tokens."""
    weight: float = 1.0
    """Of each token of the reply."""


def fit(
    base: BaseModel,
    examples: Sequence[Example],
    factors: Mapping[str, tuple[Tensor, Tensor]],
    *,
    scaling: float,
    steps: int,
    learning_rate: float,
    seed: int,
    fixed: Mapping[str, tuple[Tensor, Tensor]] | None = None,
    batch_examples: int = 8,
) -> Factors:
    """``factors`` after some steps of AdamW on ``examples``, float32; those given are left as they are.

    The rate falls linearly to zero. The base model may be serving in other threads meanwhile, adapters and all: it is
    adapted in this thread only, and its weights are not touched. On a CPU the same arguments give the same bits.

    Args:
        base: the frozen base model.
        examples: in batches of ``batch_examples``, drawn in an order that ``seed`` decides.
        factors: where to start: zeros in every B, or a hypernetwork's pairs.
        scaling: what ``B A x`` is multiplied by.
        steps: of the optimiser.
        learning_rate: at the first step.
        seed: of the order.
        fixed: further pairs that act with them and are not fitted.
        batch_examples: examples that one step sees.

    Raises:
        ValueError: there are no examples, or one has no prompt.
    """
    if not examples or not all(example.prompt_ids for example in examples):
        raise ValueError("fitting needs at least one example, and every example a prompt")
    random = torch.Generator().manual_seed(seed)
    order: list[int] = []
    with torch.enable_grad():
        learned = {
            name: tuple(part.detach().to(base.device, torch.float32, copy=True).requires_grad_() for part in pair)
            for name, pair in factors.items()
        }
        optimizer = torch.optim.AdamW([part for pair in learned.values() for part in pair], weight_decay=0.0)
        with _adapted(base, lambda name: _joined(learned.get(name), (fixed or {}).get(name)), learned, scaling):
            for step in range(steps):
                if len(order) < min(batch_examples, len(examples)):
                    order += torch.randperm(len(examples), generator=random).tolist()
                batch, order = order[:batch_examples], order[batch_examples:]
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate * (1 - step / steps)
                optimizer.zero_grad()
                torch.autograd.backward(_loss(base, [examples[index] for index in batch]))
                optimizer.step()
    return {name: (a.detach(), b.detach()) for name, (a, b) in learned.items()}


@torch.no_grad()
def distil(
    base: BaseModel,
    document: str,
    queries: Sequence[str],
    *,
    max_reply_tokens: int = 32,
    top_k: int = 16,
    batch_queries: int = 16,
) -> list[Example]:
    """For each query, what the base model answers with ``document`` in its prompt, to be learned without it.

    The answer is greedy, of at most ``max_reply_tokens`` with its end; the teacher is the ``top_k`` likeliest tokens at
    each place of it. A query that leaves no room for an answer in the base model's context is left out. So many as
    ``batch_queries`` are answered at once.

    Source: Snell et al., "Learning by distilling context", arXiv 2209.15189.
    """
    told = []
    for query in queries:
        asked = {"role": "user", "content": query}
        full = base.render_chat([{"role": "system", "content": document}, asked])
        if len(full) + max_reply_tokens <= base.max_context_tokens:
            told.append((full, tuple(base.render_chat([asked]))))
    examples: list[Example] = []
    for start in range(0, len(told), batch_queries):
        batch = told[start : start + batch_queries]
        answers = _answers(base, [full for full, _ in batch], max_reply_tokens=max_reply_tokens, top_k=top_k)
        examples += [
            Example(prompt_ids=prompt, reply_ids=reply, teacher=teacher)
            for (_, prompt), (reply, teacher) in zip(batch, answers, strict=True)
        ]
    return examples


def _answers(
    base: BaseModel, prompts: Sequence[Sequence[int]], *, max_reply_tokens: int, top_k: int
) -> Iterator[tuple[tuple[int, ...], Teacher]]:
    """The greedy reply to each of ``prompts``, its end included, and the likeliest tokens at each place of it."""
    # Padded on the left, so that all of them go on at the same place.
    ids = pad_sequence([torch.tensor(prompt).flip(0) for prompt in prompts], batch_first=True).flip(1)
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    known = torch.arange(ids.shape[1]) >= ids.shape[1] - lengths[:, None]
    model: Any = base.module
    out = model.generate(
        ids.to(base.device),
        attention_mask=known.long().to(base.device),
        max_new_tokens=max_reply_tokens,
        do_sample=False,
        eos_token_id=sorted(base.stop_token_ids),
        pad_token_id=0,
        return_dict_in_generate=True,
        output_logits=True,
    )
    logits = torch.stack(out.logits, dim=1)
    log_probs, likeliest = logits.float().log_softmax(-1).topk(min(top_k, logits.shape[-1]))
    for row, said in enumerate(out.sequences[:, ids.shape[1] :].tolist()):
        end = next((at + 1 for at, token in enumerate(said) if token in base.stop_token_ids), len(said))
        yield tuple(said[:end]), Teacher(ids=likeliest[row, :end], log_probs=log_probs[row, :end])


def recital(base: BaseModel, document: str, *, weight: float = 1.0) -> Example:
    """The document itself, to be learned token by token."""
    ids = base.render_document(document)[: base.max_context_tokens]
    return Example(prompt_ids=tuple(ids[:1]), reply_ids=tuple(ids[1:]), weight=weight)


def _joined(first: tuple[Tensor, ...] | None, second: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
    assert first is not None  # noqa: S101  (asked for the modules that are learned, only)
    a, b = first
    if second is None:
        return a, b
    return torch.cat((a, second[0].to(a))), torch.cat((b, second[1].to(b)), dim=1)


@contextmanager
def _adapted(
    base: BaseModel, pair: Callable[[str], tuple[Tensor, Tensor]], names: Mapping[str, Any], scaling: float
) -> Iterator[None]:
    """Within this context and in this thread only, the linears called ``names`` have ``scaling * B A x`` added.

    By hooks on the linears as saved and not by an installation, of which a base model carries one at a time: an engine
    may have put its own around them.
    """
    here = threading.get_ident()

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]:
        def add(module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor | None:
            if threading.get_ident() != here:
                return None
            a, b = pair(name)
            return out + (scaling * (args[0].to(a.dtype) @ a.mT @ b.mT)).to(out.dtype)

        return add

    linears = base.linears(list(names))
    handles = [linears[name].register_forward_hook(hook(name)) for name in names]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _loss(base: BaseModel, examples: Sequence[Example]) -> Tensor:
    """Mean over the replies' tokens, weighted, of the cross-entropy with the token or with the teacher."""
    rows = [torch.tensor([*example.prompt_ids, *example.reply_ids]) for example in examples]
    # Attention is causal and padding is on the right, so no mask is needed.
    logits = base.module(input_ids=pad_sequence(rows, batch_first=True).to(base.device), use_cache=False).logits
    total, weights = torch.zeros((), device=base.device), 0.0
    for example, of_row in zip(examples, logits):
        start = len(example.prompt_ids) - 1
        said = of_row[start : start + len(example.reply_ids)].float().log_softmax(-1)
        if example.teacher is None:
            reply = torch.tensor(example.reply_ids, device=base.device)
            loss = functional.nll_loss(said, reply, reduction="sum")
        else:
            teacher = example.teacher
            loss = -(teacher.log_probs.exp() * said.gather(-1, teacher.ids)).sum()
        total = total + example.weight * loss
        weights += example.weight * len(example.reply_ids)
    return total / max(weights, 1e-9)
