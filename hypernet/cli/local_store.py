"""The store on this machine and the tenant whose users the command line speaks of."""

from collections.abc import Iterator
from contextlib import contextmanager

from hypernet.settings import Settings
from hypernet.storage import DirectoryStore, TenantScope


@contextmanager
def local_store(settings: Settings) -> Iterator[tuple[DirectoryStore, TenantScope]]:
    """The directory store of the settings and their tenant's scope; closed at the end."""
    store = DirectoryStore(settings.store_dir)
    try:
        yield store, TenantScope(settings.tenant)
    finally:
        store.close()
