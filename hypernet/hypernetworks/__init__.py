"""Hypernetworks: chunks of documents in, LoRA pairs out; several architectures behind one contract."""

from hypernet.hypernetworks.checkpoint import MAX_STRENGTH, Manifest, load_checkpoint, read_manifest, save_checkpoint
from hypernet.hypernetworks.finetune import FinetuneConfig, FinetuneHypernetwork
from hypernet.hypernetworks.hypernetwork import Chunks, Encode, Features, Hypernetwork, HypernetworkConfig, Pairs
from hypernet.hypernetworks.mean import MeanConfig, MeanHypernetwork
from hypernet.hypernetworks.mlp import MlpConfig, MlpHypernetwork
from hypernet.hypernetworks.perceiver import PerceiverConfig, PerceiverHypernetwork
from hypernet.hypernetworks.registry import architectures, import_architectures, register

__all__ = [
    "MAX_STRENGTH",
    "Chunks",
    "Encode",
    "Features",
    "FinetuneConfig",
    "FinetuneHypernetwork",
    "Hypernetwork",
    "HypernetworkConfig",
    "Manifest",
    "MeanConfig",
    "MeanHypernetwork",
    "MlpConfig",
    "MlpHypernetwork",
    "Pairs",
    "PerceiverConfig",
    "PerceiverHypernetwork",
    "architectures",
    "import_architectures",
    "load_checkpoint",
    "read_manifest",
    "register",
    "save_checkpoint",
]
