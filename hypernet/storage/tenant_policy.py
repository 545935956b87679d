"""The policy of a credential that reaches one tenant's objects and no others."""

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from hypernet.errors import SettingsError
from hypernet.storage.keys import TenantScope

_VERSION = "2012-10-17"
_PROBE = ".probe/"
"""Where a store tries out its server; what lies there for a moment is nobody's."""
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"(?:[A-Za-z0-9!_.'()%~+@=,-]+/)*")
_EXPECTED = (
    "A policy can be written for s3://BUCKET and s3://BUCKET/PREFIX, where a prefix is made of letters, digits and "
    "!_.'()%~+@=,- between slashes: other signs mean something else in a policy."
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a storage of objects lies: a bucket, and what every name in it begins with.

    Raises: `SettingsError` for a prefix with a sign that would mean something else in a policy (`*`, `?`, `$` ...).
    """

    bucket: str
    prefix: str = ""
    """Ends in `/`, or is empty."""

    def __post_init__(self) -> None:
        if not _BUCKET.fullmatch(self.bucket) or not _PREFIX.fullmatch(self.prefix):
            raise SettingsError(_EXPECTED)

    @classmethod
    def of(cls, url: str) -> "Place":
        """The place of an address as in the settings. Raises: `SettingsError`."""
        parts = urlsplit(url)
        if parts.scheme != "s3" or parts.query or parts.fragment:
            raise SettingsError(_EXPECTED)
        prefix = parts.path.strip("/")
        return cls(bucket=parts.netloc, prefix=f"{prefix}/" if prefix else "")

    def holds(self, other: "Place") -> bool:
        """Whether the other one lies inside this one."""
        return self.bucket == other.bucket and other.prefix.startswith(self.prefix)


def tenant_policy(scope: TenantScope, *places: Place) -> dict[str, Any]:
    """An IAM policy, for a user or a session, that allows what a store asks of a server, for one tenant.

    The tenant's objects may be read, written and removed, and their names listed; so may those under `.probe/`, which
    every credential of the store shares. Nothing else is allowed: no other tenant's object and no listing of the bucket
    above the tenants, neither of which a name can widen, since a rendered one holds no sign that a policy reads as a
    wildcard. The tenant's audit log, receipts and keys may not be removed. Of other tenants it denies nothing, so the
    credential must have no other policy beside it.

    Raises: `SettingsError` where one place lies inside another: a tenant named as the folder between would have both.
    """
    _check_apart(places)
    return {"Version": _VERSION, "Statement": [entry for place in places for entry in _statements(scope, place)]}


def bucket_policies(scope: TenantScope, *places: Place, principal: str) -> dict[str, dict[str, Any]]:
    """The same for policies that hang on buckets, for servers without the other kind: by bucket, for one principal.

    ``principal`` is an ARN, as in `arn:aws:iam:::user/acme` on Ceph. A bucket has one policy: for several tenants, put
    their statements into it together. Where an object belongs to whoever wrote it (Ceph, Amazon S3 with ACLs), the
    buckets' owner needs a statement too.
    """
    _check_apart(places)
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for place in places:
        found[place.bucket] += [{**entry, "Principal": {"AWS": [principal]}} for entry in _statements(scope, place)]
    return {bucket: {"Version": _VERSION, "Statement": statements} for bucket, statements in found.items()}


def _check_apart(places: tuple[Place, ...]) -> None:
    for position, one in enumerate(places):
        if any(one.holds(other) or other.holds(one) for other in places[position + 1 :]):
            raise SettingsError("Adapters and keys have to lie apart, neither inside the other.")


def _statements(scope: TenantScope, place: Place) -> list[dict[str, Any]]:
    # With the slash, and so not those of a tenant whose name only begins alike.
    folders = [f"{place.prefix}{folder}*" for folder in (scope.prefix, _PROBE)]
    bucket = f"arn:aws:s3:::{place.bucket}"
    return [
        {
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
            "Resource": [f"{bucket}/{folder}" for folder in folders],
        },
        # The audit log, the receipts and the tenant's own keys, none of which a store removes.
        {"Effect": "Deny", "Action": ["s3:DeleteObject"], "Resource": [f"{bucket}/{place.prefix}*/.*"]},
        {
            "Effect": "Allow",
            "Action": ["s3:ListBucket"],
            "Resource": [bucket],
            "Condition": {"StringLike": {"s3:prefix": folders}},
        },
        # Asked at the start, and about no tenant.
        {"Effect": "Allow", "Action": ["s3:GetBucketVersioning"], "Resource": [bucket]},
    ]
