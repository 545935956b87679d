"""The store of the settings and the tenant whose users the command line speaks of."""

from collections.abc import Iterator
from contextlib import contextmanager

from hypernet.settings import Settings
from hypernet.storage import AdapterStore, TenantScope
from hypernet.storage.opening import open_store


@contextmanager
def local_store(settings: Settings) -> Iterator[tuple[AdapterStore, TenantScope]]:
    """The store of the settings and their tenant's scope; closed at the end."""
    store = open_store(settings)
    try:
        yield store, TenantScope(settings.tenant)
    finally:
        store.close()
