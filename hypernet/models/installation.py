"""Replacing a base model's target linears, and putting them back."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from torch import nn

from hypernet.models.base_model import BaseModel, linear_shape


class LoraLinear(nn.Module):
    """A layer in place of a target linear, which it keeps as `inner`. Abstract: subclasses add the low-rank part."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.d_in, self.d_out = linear_shape(inner)


LayerT = TypeVar("LayerT", bound=LoraLinear)


class Installation(Generic[LayerT]):
    """Target linears replaced by `layers` (full module name to new layer, in layer order) until `uninstall()`.

    A base model carries one installation at a time; a second one is a `RuntimeError`.
    """

    def __init__(self, base: BaseModel, target_modules: Sequence[str], make: Callable[[nn.Module], LayerT]) -> None:
        if any(isinstance(module, LoraLinear) for module in base.module.modules()):
            raise RuntimeError(f"the base model {base.name} already carries adapted layers; uninstall those first")
        self.base = base
        self.layers: dict[str, LayerT] = {}
        for name, linear in base.linears(target_modules).items():
            self.layers[name] = make(linear)
            base.module.set_submodule(name, self.layers[name], strict=True)
        self._installed = True

    def uninstall(self) -> None:
        """Put the original linears back. Idempotent."""
        if self._installed:
            self._installed = False
            for name, layer in self.layers.items():
                self.base.module.set_submodule(name, layer.inner, strict=True)
