"""`hypernet store policy`: what to give a server so that a credential reaches one tenant only."""

import json
import sys

from hypernet.errors import SettingsError
from hypernet.settings import Settings
from hypernet.storage import TenantScope
from hypernet.storage.opening import keys_url
from hypernet.storage.tenant_policy import Place, bucket_policies, tenant_policy


def print_policy(settings: Settings, *, tenant: str | None, principal: str | None) -> None:
    """Prints the policy of one tenant, by default the settings' own, for the buckets of the settings.

    JSON for people to look at and for programs to read; with a principal one policy for each bucket, by its name.
    Raises: `SettingsError` where adapters are kept in a directory, `InvalidName`.
    """
    if settings.store_url is None:
        raise SettingsError("Policies are for stores in buckets. Set HYPERNET_STORE_URL to s3://BUCKET.")
    scope = TenantScope(settings.tenant if tenant is None else tenant)
    places = Place.of(settings.store_url), Place.of(keys_url(settings))
    policy = (
        tenant_policy(scope, *places) if principal is None else bucket_policies(scope, *places, principal=principal)
    )
    sys.stdout.write(json.dumps(policy, indent=2) + "\n")
