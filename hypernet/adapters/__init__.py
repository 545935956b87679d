"""The product: LoRA adapters as values, their identity, their file format and the checks on them."""

from hypernet.adapters.adapter import Adapter, LoraPair
from hypernet.adapters.compression import compress
from hypernet.adapters.provenance import Provenance
from hypernet.adapters.validation import validate

__all__ = ["Adapter", "LoraPair", "Provenance", "compress", "validate"]
