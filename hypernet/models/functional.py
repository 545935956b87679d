"""Training's route: the base model with LoRA tensors that gradients flow into."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from hypernet.models.base_model import BaseModel, require_right_padding
from hypernet.models.installation import Installation, LoraLinear

# A (rank x d_in) and B (d_out x rank) of one module, one pair for each document of a batch.
LoraTensors = tuple[Float[Tensor, "documents rank _"], Float[Tensor, "documents _ rank"]]


class FunctionalLinear(LoraLinear):
    """A frozen linear layer plus the LoRA pair of the forward pass that is running, if one is set."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__(inner)
        self.lora: LoraTensors | None = None
        self.scaling = 1.0

    def forward(self, x: Float[Tensor, "rows tokens d_in"]) -> Float[Tensor, "rows tokens d_out"]:
        """`inner(x) + scaling * B A x`, where `rows / documents` consecutive rows share one pair."""
        out: Tensor = self.inner(x)
        if self.lora is None:
            return out
        return add_lora(out, x, *self.lora, scaling=self.scaling)


def add_lora(
    out: Float[Tensor, "rows tokens d_out"],
    x: Float[Tensor, "rows tokens d_in"],
    a: Float[Tensor, "documents rank d_in"],
    b: Float[Tensor, "documents d_out rank"],
    *,
    scaling: float,
) -> Float[Tensor, "rows tokens d_out"]:
    """`out + scaling * B A x`: row `i` uses pair `i // (rows // documents)`.

    The rows of a document are folded into its token axis, so a pair is never copied.
    """
    documents = a.shape[0]
    low = torch.bmm(x.reshape(documents, -1, x.shape[-1]), a.transpose(1, 2))
    wide = out.reshape(documents, -1, out.shape[-1])
    return torch.baddbmm(wide, low, b.transpose(1, 2), alpha=scaling).view(out.shape)


@contextmanager
def _only(places: Int[Tensor, "rows kept"] | None, model: Any) -> Iterator[None]:
    """Within this context the output embeddings of `model` see the hidden states of `places` alone."""
    if places is None:
        yield
        return

    def gather(head: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden, *others = args
        return hidden.gather(1, places[..., None].expand(-1, -1, hidden.shape[-1])), *others

    handle = model.get_output_embeddings().register_forward_pre_hook(gather)
    try:
        yield
    finally:
        handle.remove()


class AdaptedModel:
    """The base model with its target linears opened for LoRA tensors, for training and for checking other routes.

    Not an `nn.Module`, so that whoever holds it does not count the base model's weights among their own. One forward
    pass at a time. `uninstall()` puts the original linears back.
    """

    def __init__(self, base: BaseModel, target_modules: Sequence[str]) -> None:
        self.base = base
        self._installation: Installation[FunctionalLinear] = Installation(base, target_modules, FunctionalLinear)
        self.modules: tuple[str, ...] = tuple(self._installation.layers)

    def forward(
        self,
        input_ids: Int[Tensor, "rows tokens"],
        attention_mask: Bool[Tensor, "rows tokens"],
        lora: Mapping[str, LoraTensors] | None,
        scaling: float = 1.0,
        *,
        places: Int[Tensor, "rows kept"] | None = None,
        **options: Any,
    ) -> Float[Tensor, "rows kept vocab"]:
        """Logits under the adapters in `lora`, differentiable in its tensors; `None` is the base model.

        `lora` maps full module names to pairs for `documents` adapters, and row `i` runs under adapter
        `i // (rows / documents)`; a module that is missing keeps its base weights. Rows are padded on the right;
        logits at padded positions mean nothing. With `places` only the logits of these tokens of each row are worked
        out; with large vocabularies they are most of the memory. `options` go to the model (`logits_to_keep` keeps the
        logits of the last positions). Raises `ValueError` for an unknown module, for rows that the adapters do not
        divide, and for padding on the left.
        """
        require_right_padding(attention_mask)
        pairs = {} if lora is None else lora
        layers = self._installation.layers
        for name, (a, _) in pairs.items():
            if name not in layers:
                raise ValueError(
                    f"{name} is not among the {len(layers)} adapted modules, the first is {self.modules[0]}"
                )
            if input_ids.shape[0] % a.shape[0]:
                raise ValueError(f"{input_ids.shape[0]} rows cannot be shared out to {a.shape[0]} adapters")
        try:
            for name, pair in pairs.items():
                layers[name].lora, layers[name].scaling = pair, scaling
            with _only(places, self.base.module):
                # Attention is causal and padding is on the right, so a mask would change nothing but the speed.
                logits: Tensor = self.base.module(input_ids=input_ids, use_cache=False, **options).logits
            return logits
        finally:
            for layer in layers.values():
                layer.lora = None

    __call__ = forward

    def uninstall(self) -> None:
        """Put the original linears back. Idempotent."""
        self._installation.uninstall()
