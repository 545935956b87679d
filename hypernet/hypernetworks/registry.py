"""The architectures of hypernetworks by the name that a manifest gives."""

import os
from dataclasses import dataclass
from importlib import import_module

from hypernet.errors import CheckpointInvalid
from hypernet.hypernetworks.finetune import FinetuneConfig, FinetuneHypernetwork
from hypernet.hypernetworks.hypernetwork import Hypernetwork, HypernetworkConfig
from hypernet.hypernetworks.mean import MeanConfig, MeanHypernetwork
from hypernet.hypernetworks.mlp import MlpConfig, MlpHypernetwork
from hypernet.hypernetworks.perceiver import PerceiverConfig, PerceiverHypernetwork

DEFAULT = "perceiver"
"""The architecture that a checkpoint's bare name stands for."""

MODULES_VARIABLE = "HYPERNET_ARCHITECTURES"
"""Names, separated by commas, of the modules that register further architectures."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A kind of hypernetwork: what its configuration and the hypernetwork itself are made of."""

    name: str
    config: type[HypernetworkConfig]
    hypernetwork: type[Hypernetwork]


_ARCHITECTURES = {
    DEFAULT: Architecture(name=DEFAULT, config=PerceiverConfig, hypernetwork=PerceiverHypernetwork),
    "finetune": Architecture(name="finetune", config=FinetuneConfig, hypernetwork=FinetuneHypernetwork),
    "mean": Architecture(name="mean", config=MeanConfig, hypernetwork=MeanHypernetwork),
    "mlp": Architecture(name="mlp", config=MlpConfig, hypernetwork=MlpHypernetwork),
}


def register(name: str, config: type[HypernetworkConfig], hypernetwork: type[Hypernetwork]) -> None:
    """Make an architecture known, so that its checkpoints are saved and loaded like any other.

    Its hypernetwork is constructed from its configuration alone. Call it where the classes are defined; a service
    imports that module if `HYPERNET_ARCHITECTURES` names it. Registering the same classes again changes nothing.
    Raises `ValueError` for a name that stands for other classes.
    """
    architecture = Architecture(name=name, config=config, hypernetwork=hypernetwork)
    if _ARCHITECTURES.setdefault(name, architecture) != architecture:
        raise ValueError(
            f"the architecture {name!r} is {_ARCHITECTURES[name].hypernetwork.__name__}; choose another name"
        )


def find_architecture(name: str) -> Architecture:
    """The architecture called `name`. Raises `CheckpointInvalid`, which lists those there are."""
    if name not in _ARCHITECTURES:
        import_architectures(os.environ.get(MODULES_VARIABLE, ""))
    if name not in _ARCHITECTURES:
        raise CheckpointInvalid(
            f"Expected one of the architectures {', '.join(architectures())}, got {name[:80]!r}. Use a release of this "
            f"project that knows it, or name the module that registers it in {MODULES_VARIABLE}."
        )
    return _ARCHITECTURES[name]


def architecture_of(hypernetwork: Hypernetwork) -> Architecture:
    """The architecture that `hypernetwork` is of. Raises `ValueError` where nobody registered its class."""
    for architecture in _ARCHITECTURES.values():
        if type(hypernetwork) is architecture.hypernetwork:
            return architecture
    raise ValueError(f"{type(hypernetwork).__name__} is not registered; call register(name, its config, the class)")


def architectures() -> tuple[str, ...]:
    """Names of the architectures that are registered, sorted."""
    return tuple(sorted(_ARCHITECTURES))


def import_architectures(modules: str) -> None:
    """Import the modules named, separated by commas, that register architectures. Raises `CheckpointInvalid`."""
    for module in filter(None, (name.strip() for name in modules.split(","))):
        try:
            import_module(module)
        # Whatever somebody's module raises while it is imported, or a name that is none, means one thing to the caller.
        except Exception as error:
            raise CheckpointInvalid(f"The module {module}, named for its architectures, cannot be imported.") from error
