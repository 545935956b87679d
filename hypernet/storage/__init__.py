"""Where adapters are kept: one protocol, versions and rollback, every tenant and user apart from every other."""

from hypernet.storage.directory import DirectoryStore
from hypernet.storage.keys import TenantScope, UserKey
from hypernet.storage.memory import MemoryStore
from hypernet.storage.store import AdapterStore, StoredAdapter

__all__ = ["AdapterStore", "DirectoryStore", "MemoryStore", "StoredAdapter", "TenantScope", "UserKey"]
