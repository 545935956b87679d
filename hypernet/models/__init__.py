"""The frozen base model and the two ways an adapter is applied to it.

`BaseModel` holds the causal LM and its tokenizer. `AdaptedModel` runs it with LoRA tensors that a caller passes in and
wants gradients for; `SlotBank` runs it with adapters that stay resident, a different one in each batch row.
"""

from hypernet.models.base_model import BaseModel, Message
from hypernet.models.functional import AdaptedModel, LoraTensors
from hypernet.models.slot_bank import BASE_SLOT, RowAdapters, SlotBank

__all__ = ["BASE_SLOT", "AdaptedModel", "BaseModel", "LoraTensors", "Message", "RowAdapters", "SlotBank"]
