"""The Perceiver's parts. Every attention is ``scaled_dot_product_attention``, so that CPU and GPU share one path."""

from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """Multi-head attention from queries to a context, normalised before and, at its output, started at zero."""

    def __init__(self, width: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_query = nn.RMSNorm(width)
        self.norm_context = nn.RMSNorm(width)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(
        self,
        queries: Float[Tensor, "batch queries width"],
        context: Float[Tensor, "batch tokens width"],
        mask: Bool[Tensor, "batch tokens"] | None,
    ) -> Float[Tensor, "batch queries width"]:
        """What each query gathers from the tokens that ``mask`` admits; from all of them without one."""
        context = self.norm_context(context)
        q, k, v = self.query(self.norm_query(queries)), self.key(context), self.value(context)
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (q, k, v))
        q, k = functional.rms_norm(q, q.shape[-1:]), functional.rms_norm(k, k.shape[-1:])
        admitted = None if mask is None else mask[:, None, None, :]
        gathered = functional.scaled_dot_product_attention(q, k, v, attn_mask=admitted)
        return self.out(gathered.transpose(1, 2).flatten(2))


class GatedMlp(nn.Module):
    """A gated SiLU MLP, normalised before and started at zero."""

    def __init__(self, width: int, *, ratio: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width)
        self.gate = nn.Linear(width, ratio * width, bias=False)
        self.up = nn.Linear(width, ratio * width, bias=False)
        self.down = nn.Linear(ratio * width, width, bias=False)
        nn.init.zeros_(self.down.weight)

    def forward(self, x: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        """The update, without the residual."""
        x = self.norm(x)
        return self.down(functional.silu(self.gate(x)) * self.up(x))


class TokenMixer(nn.Module):
    """Lets document tokens see both ways: a short convolution for order, attention for reach, an MLP."""

    KERNEL = 7

    def __init__(self, width: int, *, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.near = nn.Conv1d(width, width, self.KERNEL, padding=self.KERNEL // 2, groups=width, bias=False)
        self.attention = Attention(width, heads=heads)
        self.mlp = GatedMlp(width, ratio=mlp_ratio)

    def forward(
        self, tokens: Float[Tensor, "batch tokens width"], mask: Bool[Tensor, "batch tokens"]
    ) -> Float[Tensor, "batch tokens width"]:
        """The tokens after one round. Padding is zeroed first, so a document's result does not depend on its
        padding.
        """
        tokens = tokens.masked_fill(~mask[..., None], 0.0)
        tokens = tokens + self.near(tokens.mT).mT
        tokens = tokens + self.attention(tokens, tokens, mask)
        return tokens + self.mlp(tokens)
