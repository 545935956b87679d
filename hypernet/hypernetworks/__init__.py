"""Hypernetworks: document features in, adapter tensors out."""

from hypernet.hypernetworks.checkpoint import Manifest, load_checkpoint, read_manifest, save_checkpoint
from hypernet.hypernetworks.perceiver import PerceiverConfig, PerceiverHypernetwork

__all__ = [
    "Manifest",
    "PerceiverConfig",
    "PerceiverHypernetwork",
    "load_checkpoint",
    "read_manifest",
    "save_checkpoint",
]
