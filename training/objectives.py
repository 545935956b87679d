"""What a hypernetwork is trained for, as small functions of logits."""

from torch import Tensor
from torch.nn import functional

from training.packing import IGNORED


def supervised_loss(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean next-token loss on the labelled tokens, in nats.

    The made-up world knows every reply exactly, so the label says all that a teacher with the document in its prompt
    could.

    Args:
        logits: ``rows tokens vocab``.
        labels: ``rows tokens``, ``IGNORED`` where nothing is scored.
        weights: ``rows``: of each row's tokens in the mean; all alike when not given.
    """
    scored = labels[:, 1:] != IGNORED
    losses = functional.cross_entropy(logits[:, :-1][scored].float(), labels[:, 1:][scored], reduction="none")
    if weights is None:
        return losses.mean()
    each = weights[:, None].expand_as(scored)[scored]
    return (losses * each).sum() / each.sum()


def retention_loss(logits: Tensor, bare_logits: Tensor, labels: Tensor) -> Tensor:
    """Mean divergence KL(bare || adapted) where ``labels`` says, in nats a token: the adapter must not be felt there.

    Args:
        logits: with the adapter; ``rows tokens vocab``.
        bare_logits: of the same model without it; carries no gradient.
        labels: ``rows tokens``, ``IGNORED`` where nothing is held.
    """
    held = labels[:, 1:] != IGNORED
    adapted = functional.log_softmax(logits[:, :-1][held].float(), dim=-1)
    bare = functional.log_softmax(bare_logits[:, :-1][held].float(), dim=-1)
    return functional.kl_div(adapted, bare, log_target=True, reduction="batchmean")
