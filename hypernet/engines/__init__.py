"""Engines run the base model for many adapters at once. `Engine` is the protocol, `InProcessEngine` the default."""

from hypernet.engines.engine import CompletionRequest, Engine, EngineHealth, Lease, Sampling
from hypernet.engines.in_process import InProcessEngine
from hypernet.engines.streams import CompletionStream, Delta

__all__ = [
    "CompletionRequest",
    "CompletionStream",
    "Delta",
    "Engine",
    "EngineHealth",
    "InProcessEngine",
    "Lease",
    "Sampling",
]
