"""From documents to adapters: a context encoder reads, a hypernetwork writes, a state keeps what was read."""

from hypernet.generators.generator import Generation, Generator, Timings, check_strength, load
from hypernet.generators.releasing import (
    write_finetune_checkpoint,
    write_mean_checkpoint,
    write_refining_checkpoint,
)
from hypernet.generators.signature import Signature
from hypernet.generators.state import ReadDocument, State
from hypernet.hypernetworks import MAX_STRENGTH, Encode

__all__ = [
    "MAX_STRENGTH",
    "Encode",
    "Generation",
    "Generator",
    "ReadDocument",
    "Signature",
    "State",
    "Timings",
    "check_strength",
    "load",
    "write_finetune_checkpoint",
    "write_mean_checkpoint",
    "write_refining_checkpoint",
]
