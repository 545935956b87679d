"""Where adapters are kept: one store over any storage of objects, every tenant and user apart from every other."""

from hypernet.storage.keys import TenantScope, UserKey
from hypernet.storage.pointer import Retention
from hypernet.storage.store import AdapterStore
from hypernet.storage.stored_adapter import StoredAdapter

__all__ = ["AdapterStore", "Retention", "StoredAdapter", "TenantScope", "UserKey"]
