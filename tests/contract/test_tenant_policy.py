"""What a credential with the policy of one tenant reaches on a real server: that tenant's objects, and nothing else."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any
from uuid import uuid4

import pytest
from minio import Minio
from minio.commonconfig import CopySource
from minio.deleteobjects import DeleteObject
from minio.error import S3Error
from minio.versioningconfig import VersioningConfig

from hypernet.cli.policies import print_policy
from hypernet.errors import AdapterNotFound, ObjectChanged, SettingsError, StoreCorrupt, StoreUnavailable
from hypernet.settings import read_settings
from hypernet.storage import TenantScope
from hypernet.storage.key_provider import HeldKeys
from hypernet.storage.probe import require
from hypernet.storage.s3 import S3Objects, Server
from hypernet.storage.sealing import new_key
from hypernet.storage.tenant_policy import Place, bucket_policies, tenant_policy
from tests.s3_server import another_user
from tests.samples import sample_adapter
from tests.storages import ACME, ADA, Storages, store_of

# Names that a careless pattern would take for those of acme, and one that has nothing in common with them.
RIVALS = [TenantScope(name) for name in ("acme2", "acm", "acme.", "Acme", "globex")]
OWNER = "test"
"""Name of the user that `tests/s3_up.sh` makes."""
Policies = dict[str, dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Buckets:
    """The places of the adapters and of the keys: as the owner sees them, and as another user of the server does."""

    owners: tuple[Server, Server]
    scoped: tuple[Server, Server]
    principal: str

    @property
    def places(self) -> tuple[Place, ...]:
        return tuple(Place(bucket=server.bucket, prefix=server.prefix) for server in self.owners)

    def allow(self, policies: Policies) -> None:
        for bucket, policy in policies.items():
            client(self.owners[0]).set_bucket_policy(bucket, json.dumps(policy))

    def allow_tenant(self, scope: TenantScope) -> None:
        self.allow(bucket_policies(scope, *self.places, principal=self.principal))


@pytest.fixture(scope="module")
def buckets(s3_server: Server) -> Iterator[Buckets]:
    name = f"scoped-{uuid4().hex[:8]}"
    user, principal = another_user(s3_server, name)
    # One place below a prefix and one that is a whole bucket: both are allowed.
    differences = {"bucket": name, "prefix": "team/"}, {"bucket": f"{name}-keys"}
    made = Buckets(
        owners=(replace(s3_server, **differences[0]), replace(s3_server, **differences[1])),
        scoped=(replace(user, **differences[0]), replace(user, **differences[1])),
        principal=principal,
    )
    owners = storages_of(made.owners)
    for storage in owners:
        storage.make_bucket()
    for rival in RIVALS:
        store_of(owners).put(rival.user("eve"), sample_adapter())
    yield made
    made.allow(with_owner({server.bucket: {"Version": "2012-10-17", "Statement": []} for server in made.owners}))
    for server in made.owners:
        cleaning = client(server)
        for entry in cleaning.list_objects(server.bucket, recursive=True):
            cleaning.remove_object(server.bucket, entry.object_name)
        cleaning.remove_bucket(server.bucket)


def with_owner(policies: Policies) -> Policies:
    """The policies with a statement for the buckets' owner, who on Ceph does not own what others write into them."""
    own = {"Effect": "Allow", "Action": ["s3:*"], "Principal": {"AWS": [f"arn:aws:iam:::user/{OWNER}"]}}
    return {
        bucket: policy
        | {
            "Statement": [
                *policy["Statement"],
                own | {"Resource": [f"arn:aws:s3:::{bucket}{end}" for end in ("", "/*")]},
            ]
        }
        for bucket, policy in policies.items()
    }


def storages_of(servers: tuple[Server, Server]) -> tuple[S3Objects, S3Objects]:
    return S3Objects(servers[0]), S3Objects(servers[1])


def client(server: Server) -> Minio:
    return Minio(
        server.endpoint,
        access_key=server.access_key,
        secret_key=server.secret_key.get_secret_value(),
        secure=server.secure,
        region="us-east-1",
    )


def reached(calls: dict[str, Callable[[], object]]) -> list[str]:
    """Which of the calls the server let through; only that it denies them counts as a refusal."""
    found = []
    for name, call in calls.items():
        try:
            call()
        except (StoreUnavailable, S3Error) as error:
            if not ("denies access" in str(error) or getattr(error, "code", None) == "AccessDenied"):
                raise
        except ObjectChanged:
            found.append(name)  # the condition was looked at
        else:
            found.append(name)
    return found


def remove_many(raw: Minio, bucket: str, name: str) -> None:
    for error in raw.remove_objects(bucket, [DeleteObject(name)]):
        assert error.code == "AccessDenied"
        raise StoreUnavailable("The server denies access.")


def intrusions(server: Server, victim: TenantScope, *, home: TenantScope) -> list[str]:
    """What the credential of ``server`` can do to another tenant's objects in its bucket."""
    objects, raw, bucket = S3Objects(server), client(server), server.bucket
    folder = victim.user("eve").prefix
    there, own = f"{server.prefix}{folder}pointer", f"{server.prefix}{home.prefix}loot"
    raw.put_object(bucket, own, BytesIO(), 0)
    return reached(
        {
            "read": lambda: objects.read(f"{folder}pointer"),
            "read of nothing": lambda: objects.read(f"{folder}nothing"),
            "write": lambda: objects.write(f"{folder}planted", b"x"),
            "swap": lambda: objects.swap(f"{folder}planted", b"y", expected=None),
            "remove": lambda: objects.remove(f"{folder}planted"),
            "list of a user": lambda: objects.names(folder),
            "list of a tenant": lambda: objects.names(victim.prefix),
            "list of folders": lambda: objects.folders(victim.prefix),
            "look": lambda: raw.stat_object(bucket, there),
            "copy from": lambda: raw.copy_object(bucket, own, CopySource(bucket, there)),
            "copy to": lambda: raw.copy_object(bucket, f"{server.prefix}{folder}planted", CopySource(bucket, own)),
            "removal of many": lambda: remove_many(raw, bucket, f"{server.prefix}{folder}planted"),
            "list of versions": lambda: list(raw.list_objects(bucket, prefix=there, include_version=True)),
        }
    )


def overviews(server: Server, home: TenantScope) -> list[str]:
    """What the credential can find out about the bucket as a whole, or change of it."""
    objects, raw, bucket = S3Objects(server), client(server), server.bucket
    return reached(
        {
            "list of the place": lambda: objects.names(""),
            "list of its folders": lambda: objects.folders(""),
            "list of the bucket": lambda: list(raw.list_objects(bucket)),
            "list of the whole bucket": lambda: list(raw.list_objects(bucket, recursive=True, use_api_v1=True)),
            "list from the tenant on": lambda: list(raw.list_objects(bucket, start_after=home.prefix, recursive=True)),
            # Without its slash the tenant's name is the beginning of others'.
            "list of what begins alike": lambda: objects.names(home.prefix[:-1]),
            "whether there is a bucket": lambda: raw.bucket_exists(bucket),
            "its policy": lambda: raw.get_bucket_policy(bucket),
            "another policy": lambda: raw.set_bucket_policy(bucket, "{}"),
            "no policy": lambda: raw.delete_bucket_policy(bucket),
            "no bucket": lambda: raw.remove_bucket(bucket),
            "versions from now on": lambda: raw.set_bucket_versioning(bucket, VersioningConfig("Enabled")),
        }
    )


@pytest.mark.parametrize("tenant", ["acme", "Größe & Söhne", "你" * 60], ids=["plain", "escaped", "hashed"])
def test_store_with_a_tenants_credential_works_whole_and_passes_its_own_checks(buckets: Buckets, tenant: str):
    scope = TenantScope(tenant)
    buckets.allow_tenant(scope)
    storages: Storages = storages_of(buckets.scoped)
    for storage in storages:
        storage.check()
        require(storage)
    store = store_of(storages)
    ada, bob = scope.user("Ada"), scope.user("b" * 128)
    with pytest.raises(AdapterNotFound):
        store.get(ada)
    for seed in range(3):
        store.put(ada, sample_adapter(seed))
    store.put(bob, sample_adapter(7))
    storages[0].write(f"{bob.prefix}objects/{'0' * 32}", b"left over")

    assert store.activate(ada, 2).version == 2
    assert store.get(ada)[1].digest == sample_adapter(1).digest
    assert sorted(store.users(scope)) == ["Ada", "b" * 128]
    assert store.rotate_tenant_key(scope) == 2
    assert store.rotate_root_key(scope) == 0
    assert sum(store.sweep_tenant(scope)) == 1
    assert store_of(storages_of(buckets.scoped)).get(ada, version=3)[1].digest == sample_adapter(2).digest
    store.erase(ada)
    assert store.users(scope) == ["b" * 128]
    store.erase(bob)


def test_tenants_credential_cannot_remove_its_audit_log_nor_its_keys(buckets: Buckets):
    buckets.allow_tenant(ACME)
    storages = storages_of(buckets.scoped)
    store = store_of(storages)
    store.put(ADA, sample_adapter())
    store.erase(ADA)
    kept = [(storage, name) for storage in storages for name in storage.names("acme/") if name.startswith("acme/.")]
    assert {name.split("/")[1] for _, name in kept} == {".audit", ".receipts", ".keys"}
    for storage, name in kept:
        with pytest.raises(StoreUnavailable, match="denies access"):
            storage.remove(name)
    assert store.verify_audit(ACME).problems == []


def test_tenants_credential_reaches_nothing_of_another_tenant_in_either_bucket(buckets: Buckets):
    buckets.allow_tenant(ACME)

    for server in buckets.scoped:
        assert overviews(server, ACME) == []
        for rival in RIVALS:
            assert intrusions(server, rival, home=ACME) == [], rival.prefix
    for rival in RIVALS:
        assert store_of(storages_of(buckets.owners)).get(rival.user("eve"))[1].digest == sample_adapter().digest


@pytest.mark.parametrize(
    ("flaw", "opened"),
    [
        # Without its slash, "acme" is also how "acme2" begins.
        (("acme/*", "acme*"), {"read", "write", "swap", "remove", "list of a tenant", "copy from"}),
        # A listing alone tells who the others are.
        (('"team/acme/*", "team/.probe/*"]}', '"*"]}'), {"list of a user", "list of a tenant", "list of folders"}),
    ],
)
def test_policy_with_a_flaw_is_found_by_the_same_questions(buckets: Buckets, flaw: tuple[str, str], opened: set[str]):
    # The twins of the test above.
    sound = json.dumps(bucket_policies(ACME, *buckets.places, principal=buckets.principal))
    assert flaw[0] in sound
    buckets.allow(json.loads(sound.replace(*flaw)))

    assert opened <= set(intrusions(buckets.scoped[0], TenantScope("acme2"), home=ACME))


def test_owner_of_the_buckets_reads_what_a_tenants_credential_wrote_once_the_policy_says_so(buckets: Buckets):
    buckets.allow(with_owner(bucket_policies(ACME, *buckets.places, principal=buckets.principal)))
    scoped, owners = store_of(storages_of(buckets.scoped)), store_of(storages_of(buckets.owners))
    scoped.put(ACME.user("ada"), sample_adapter())

    assert owners.get(ACME.user("ada"))[1].digest == sample_adapter().digest
    owners.erase(ACME.user("ada"))
    with pytest.raises(AdapterNotFound):
        scoped.get(ACME.user("ada"))


def test_tenants_credential_needs_no_root_key_that_opens_another_tenants_adapters(buckets: Buckets):
    scope, other = TenantScope("hooli"), TenantScope("initech").user("ada")
    buckets.allow(with_owner(bucket_policies(scope, *buckets.places, principal=buckets.principal)))
    services, own, ada = new_key(), new_key(), scope.user("ada")
    owners, scoped = storages_of(buckets.owners), storages_of(buckets.scoped)
    for key in (ada, other):
        store_of(owners, provider=HeldKeys([services])).put(key, sample_adapter())
    assert store_of(owners, provider=HeldKeys([own, services])).rotate_root_key(scope) > 0

    assert store_of(scoped, provider=HeldKeys([own])).get(ada)[1].digest == sample_adapter().digest
    assert store_of(owners, provider=HeldKeys([services, own])).get(ada)[1].digest == sample_adapter().digest
    with pytest.raises(StoreCorrupt, match="root key that is not held"):
        store_of(owners, provider=HeldKeys([own])).get(other)
    store_of(scoped, provider=HeldKeys([own])).erase(ada)


def test_object_that_may_be_listed_and_not_read_is_denied_and_not_taken_for_an_absent_one(buckets: Buckets):
    policies = bucket_policies(ACME, *buckets.places, principal=buckets.principal)
    for policy in policies.values():
        policy["Statement"] = [entry for entry in policy["Statement"] if entry["Action"] == ["s3:ListBucket"]]
    buckets.allow(policies)
    owner, scoped = S3Objects(buckets.owners[0]), S3Objects(buckets.scoped[0])
    owner.write("acme/ada/pointer", b"there")

    assert list(scoped.names("acme/ada/")) == ["acme/ada/pointer"]
    with pytest.raises(StoreUnavailable, match="denies access"):
        scoped.read("acme/ada/pointer")
    owner.remove("acme/ada/pointer")


def test_credential_without_a_policy_reaches_nothing(buckets: Buckets):
    for server in buckets.owners:
        client(server).delete_bucket_policy(server.bucket)
    for server in buckets.scoped:
        objects = S3Objects(server)
        assert reached({"read": lambda: objects.read("acme/a"), "list": lambda: objects.names("acme/")}) == []  # noqa: B023
        with pytest.raises(StoreUnavailable, match="denies access"):
            objects.check()


def test_policy_reads_as_iam_expects_it():
    policy = tenant_policy(ACME, Place.of("s3://abc/team"), Place.of("s3://abc-keys"))

    assert policy["Version"] == "2012-10-17"
    assert policy["Statement"][:4] == [
        {
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
            "Resource": ["arn:aws:s3:::abc/team/acme/*", "arn:aws:s3:::abc/team/.probe/*"],
        },
        {"Effect": "Deny", "Action": ["s3:DeleteObject"], "Resource": ["arn:aws:s3:::abc/team/*/.*"]},
        {
            "Effect": "Allow",
            "Action": ["s3:ListBucket"],
            "Resource": ["arn:aws:s3:::abc"],
            "Condition": {"StringLike": {"s3:prefix": ["team/acme/*", "team/.probe/*"]}},
        },
        {"Effect": "Allow", "Action": ["s3:GetBucketVersioning"], "Resource": ["arn:aws:s3:::abc"]},
    ]
    assert len(policy["Statement"]) == 8
    # As many as a session's may have, without white space; the longest name of a tenant leaves room for a prefix.
    longest = tenant_policy(TenantScope("你" * 128), Place(bucket="a" * 32), Place(bucket="b" * 32))
    assert len(json.dumps(longest, separators=(",", ":"))) < 2048


@pytest.mark.parametrize("prefix", ["te*m/", "te?m/", "${aws:username}/", "team", "te am/", '"/', "//"])
def test_policy_is_not_written_for_a_prefix_that_it_would_read_otherwise(prefix: str):
    with pytest.raises(SettingsError, match="mean something else"):
        Place(bucket="abc", prefix=prefix)


@pytest.mark.parametrize("url", ["abc", "s3://", "s3://ab", "s3://abc?x", "s3://a*c", "https://abc", "s3://abc/t*m"])
def test_policy_is_not_written_for_an_address_that_is_none(url: str):
    with pytest.raises(SettingsError):
        Place.of(url)


@pytest.mark.parametrize(("one", "other"), [("s3://abc", "s3://abc/keys"), ("s3://abc/x/y", "s3://abc/x")])
def test_policy_is_not_written_where_a_tenants_name_could_be_the_folder_of_the_keys(one: str, other: str):
    for policy in (
        lambda: tenant_policy(TenantScope("keys"), Place.of(one), Place.of(other)),
        lambda: bucket_policies(TenantScope("keys"), Place.of(one), Place.of(other), principal="p"),
    ):
        with pytest.raises(SettingsError, match="apart"):
            policy()


def test_policy_is_printed_for_the_settings_in_force(capsys: pytest.CaptureFixture[str]):
    settings = read_settings(store_url="s3://abc/team", tenant="acme")
    print_policy(settings, tenant=None, principal=None)
    places = Place.of("s3://abc/team"), Place.of("s3://abc-keys/team")
    assert json.loads(capsys.readouterr().out) == tenant_policy(ACME, *places)

    print_policy(settings, tenant="globex", principal="arn:aws:iam:::user/globex")
    printed = json.loads(capsys.readouterr().out)
    assert printed == bucket_policies(TenantScope("globex"), *places, principal="arn:aws:iam:::user/globex")
    assert set(printed) == {"abc", "abc-keys"}

    with pytest.raises(SettingsError, match="HYPERNET_STORE_URL"):
        print_policy(read_settings(), tenant=None, principal=None)
