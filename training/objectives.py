"""What a hypernetwork is trained for, as small functions of logits and weights."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from training.packing import IGNORED, PackedRows


class TopK(NamedTuple):
    """What a teacher holds likeliest at each labelled token.

    Attributes:
        ids: token ids, likeliest first.
        log_probabilities: their natural logarithms, of the whole vocabulary's distribution: the rest is not spread
            among them.
    """

    ids: Int[Tensor, "labelled k"]
    log_probabilities: Float[Tensor, "labelled k"]


def supervised_loss(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean next-token loss on the labelled tokens, in nats.

    The made-up world knows every reply exactly, so the label says all that a teacher with the document in its prompt
    could.

    Args:
        logits: ``rows places vocab``.
        labels: ``rows places``, ``IGNORED`` where nothing is scored.
        weights: ``rows``: of each row's tokens in the mean; all alike when not given.
    """
    scored = labels != IGNORED
    losses = functional.cross_entropy(logits[scored].float(), labels[scored], reduction="none")
    return _mean(losses, scored, weights)


def top_k(logits: Tensor, labels: Tensor, *, k: int) -> TopK:
    """What the distribution behind ``logits`` holds likeliest at each labelled token, in the order of the rows.

    Args:
        logits: of a teacher; ``rows places vocab``.
        labels: ``rows places``, ``IGNORED`` where nothing is scored.
        k: how many tokens to keep; the whole vocabulary if it has fewer.
    """
    scored = labels != IGNORED
    log_probabilities = functional.log_softmax(logits[scored].float(), dim=-1)
    best = log_probabilities.topk(min(k, logits.shape[-1]), dim=-1)
    return TopK(ids=best.indices, log_probabilities=best.values)


def distillation_loss(logits: Tensor, labels: Tensor, teacher: TopK, weights: Tensor | None = None) -> Tensor:
    """Mean divergence KL(teacher || student) on the labelled tokens, in nats, from the teacher's ``k`` likeliest.

    The student has no document and an adapter; the teacher is the same base model with the document in its prompt. All
    tokens that are not among the ``k`` count as one, with the probability that is left, on either side:

        KL = sum_{i in k} p_i (log p_i - log q_i)  +  p_rest (log p_rest - log q_rest)

    so it is never negative, zero exactly where the student agrees on every kept token, a lower bound of the whole
    divergence and equal to it at ``k = vocab``. Renormalising the kept ones instead would teach more certainty than the
    teacher has; dropping the rest gives a loss whose least value is not where the student agrees.

    Source: Snell, Klein and Zhong, "Learning by Distilling Context", arXiv 2209.15189, section 3 (teacher with, student
    without context); Charakorn et al., "Doc-to-LoRA", arXiv 2602.15902 (for a hypernetwork, 16 log-probabilities; the
    rest is dropped there).

    Args:
        logits: of the student; ``rows places vocab``.
        labels: ``rows places``, ``IGNORED`` where nothing is scored.
        teacher: for the labelled tokens of ``labels`` in the order of the rows; carries no gradient.
        weights: ``rows``: of each row's tokens in the mean; all alike when not given.
    """
    scored = labels != IGNORED
    student = functional.log_softmax(logits[scored].float(), dim=-1)
    kept = teacher.log_probabilities.float()
    losses = (kept.exp() * (kept - student.gather(-1, teacher.ids))).sum(-1)
    if teacher.ids.shape[-1] < student.shape[-1]:
        # Summed over what is left rather than 1 - sum: near 1 the difference would have no digits.
        rest = student.scatter(-1, teacher.ids, -torch.inf).logsumexp(-1)
        rest_of_teacher = (1.0 - kept.exp().sum(-1)).clamp_min(0.0)
        losses = losses + torch.xlogy(rest_of_teacher, rest_of_teacher) - rest_of_teacher * rest
    return _mean(losses, scored, weights)


def retention_loss(logits: Tensor, bare_logits: Tensor, labels: Tensor, bare_labels: Tensor | None = None) -> Tensor:
    """Mean divergence KL(bare || adapted) where ``labels`` says, in nats a token: the adapter must not be felt there.

    Args:
        logits: with the adapter; ``rows places vocab``.
        bare_logits: of the same model without it; carries no gradient.
        labels: ``rows places``, ``IGNORED`` where nothing is held.
        bare_labels: the same tokens, in the same order, where ``bare_logits`` has them; ``labels`` when not given.
    """
    held = labels != IGNORED
    bare_held = held if bare_labels is None else bare_labels != IGNORED
    adapted = functional.log_softmax(logits[held].float(), dim=-1)
    bare = functional.log_softmax(bare_logits[bare_held].float(), dim=-1)
    return functional.kl_div(adapted, bare, log_target=True, reduction="batchmean")


def reply_log_probabilities(logits: Tensor, rows: PackedRows) -> Float[Tensor, "documents conversations"]:
    """Log-probability of all labelled tokens of each conversation, in nats; 0 where a document has no such one.

    Args:
        logits: ``documents places vocab``.
        rows: the conversations.
    """
    labels = rows.labels
    scored = labels != IGNORED
    each = logits.new_zeros(labels.shape, dtype=torch.float32)
    each[scored] = -functional.cross_entropy(logits[scored].float(), labels[scored], reduction="none")
    found = each.new_zeros(labels.shape[0], int(rows.conversations.max()) + 1)
    return found.scatter_add(1, rows.conversations, each)


def preference_loss(
    chosen: Tensor, rejected: Tensor, *, bare_chosen: Tensor, bare_rejected: Tensor, beta: float = 0.1
) -> Tensor:
    """Mean of ``-log sigmoid(beta ((chosen - bare_chosen) - (rejected - bare_rejected)))``: the adapter makes the reply
    in character likelier, against the bare model, than the one out of character.

    Source: Rafailov et al., "Direct Preference Optimization", arXiv 2305.18290, equation 7; the reference policy is the
    bare base model.

    Args:
        chosen: log-probabilities of replies in character, in nats.
        rejected: of replies out of character to the same questions.
        bare_chosen: of the first without an adapter; carries no gradient.
        bare_rejected: of the second without an adapter; carries no gradient.
        beta: how far the adapter may move from the bare model: the less, the further.
    """
    return -functional.logsigmoid(beta * ((chosen - bare_chosen) - (rejected - bare_rejected))).mean()


def other_person_loss(own: Tensor, other: Tensor, *, margin: float = 1.0) -> Tensor:
    """Mean of ``softplus(margin - (own - other))``: a reply is likelier under its own document's adapter than under
    another's. It is what adapters that are all alike cannot bring below ``softplus(margin)``.

    Source: the contrastive loss on roles of HyCoRA, arXiv 2511.08017; here on what adapters do, not on embeddings.

    Args:
        own: mean log-probability of replies under their own adapters, in nats a token.
        other: of the same replies under another document's.
        margin: difference beyond which little is left to gain, in nats a token.
    """
    return functional.softplus(margin - (own - other)).mean()


def size_of_weights(pairs: Mapping[str, tuple[Tensor, Tensor]]) -> Tensor:
    """Mean absolute entry of the B factors: their L1 norm a number. Chunks of no consequence then write little.

    Only B counts: whoever shrinks ``B A`` by shrinking A instead gains nothing that is not in B as well, and A has to
    stay live for B to learn.

    Source: Charakorn et al., "Doc-to-LoRA", arXiv 2602.15902 (there on A and B).

    Args:
        pairs: A and B of every target module.
    """
    return torch.stack([b.abs().mean() for _, b in pairs.values()]).mean()


def _mean(losses: Tensor, scored: Tensor, weights: Tensor | None) -> Tensor:
    """Mean of the losses of the scored tokens, by the weights of their rows."""
    if weights is None:
        return losses.mean()
    each = weights[:, None].expand_as(scored)[scored]
    return (losses * each).sum() / each.sum()
