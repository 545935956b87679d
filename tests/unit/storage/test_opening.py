import json
import os
from pathlib import Path

import pytest

from hypernet.errors import SettingsError, StoreUnavailable
from hypernet.settings import read_settings
from hypernet.storage import AdapterStore, TenantScope
from hypernet.storage.key_provider import HeldKeys, keys_from_file, keys_from_text, keys_to_text, make_key_file
from hypernet.storage.opening import ROOT_KEY_FILE, bucket, keys_url, open_store
from hypernet.storage.sealing import new_key
from tests.samples import sample_adapter

ADA = TenantScope("acme").user("ada")
S3 = {"s3_endpoint": "http://127.0.0.1:9", "s3_access_key": "access", "s3_secret_key": "s3cr3t-key"}


def test_open_store_makes_a_root_key_for_a_directory_and_uses_it_again(tmp_path):
    settings = read_settings(store_dir=tmp_path / "data")
    open_store(settings).put(ADA, sample_adapter())

    assert (tmp_path / "data" / ROOT_KEY_FILE).stat().st_mode & 0o077 == 0
    assert open_store(settings).get(ADA)[1].digest == sample_adapter().digest


def test_open_store_takes_root_keys_from_a_file_or_a_variable(tmp_path, monkeypatch):
    make_key_file(tmp_path / "keys.json")
    settings = read_settings(store_dir=tmp_path / "data", root_keys_file=tmp_path / "keys.json")
    open_store(settings).put(ADA, sample_adapter())
    assert not (tmp_path / "data" / ROOT_KEY_FILE).exists()

    monkeypatch.setenv("HYPERNET_ROOT_KEYS", (tmp_path / "keys.json").read_text())
    assert open_store(read_settings(store_dir=tmp_path / "data")).get(ADA)[1].digest == sample_adapter().digest


def test_open_store_keeps_the_versions_that_the_settings_say(tmp_path):
    store = open_store(read_settings(store_dir=tmp_path, keep_versions=2))
    for seed in range(4):
        store.put(ADA, sample_adapter(seed))
    assert [stored.version for stored in store.versions(ADA)] == [3, 4]


def test_open_store_without_root_keys_for_a_bucket_says_how_to_make_them():
    with pytest.raises(SettingsError, match="hypernet store keygen"):
        open_store(read_settings(store_url="s3://adapters", **S3))


@pytest.mark.parametrize(
    ("url", "keys"),
    [
        ("s3://abc", "s3://abc"),
        ("s3://abc", "s3://abc/keys"),
        ("s3://abc/x/y", "s3://abc/x"),
        ("s3://abc/", "s3://abc"),
    ],
)
def test_open_store_refuses_keys_that_lie_inside_the_adapters_or_around_them(tmp_path, url, keys):
    make_key_file(tmp_path / "keys.json")
    with pytest.raises(SettingsError, match="have to lie apart"):
        open_store(read_settings(store_url=url, keys_url=keys, root_keys_file=tmp_path / "keys.json", **S3))


@pytest.mark.parametrize(
    "url", ["adapters", "http://host/adapters", "s3://", "s3:///x", "s3://abc?b=c", "s3://key:secret@abc", "s3://ab"]
)
def test_bucket_refuses_an_address_that_is_not_one(url):
    with pytest.raises(SettingsError, match="s3://BUCKET"):
        bucket(read_settings(store_url=url, **S3), url)


@pytest.mark.parametrize("endpoint", ["127.0.0.1:9000", "ftp://host", "http://", "http://host/path"])
def test_bucket_refuses_a_server_that_is_not_one(endpoint):
    with pytest.raises(SettingsError, match="HYPERNET_S3_ENDPOINT"):
        bucket(read_settings(store_url="s3://abc", **(S3 | {"s3_endpoint": endpoint})), "s3://abc")


@pytest.mark.parametrize("missing", list(S3))
def test_bucket_says_which_settings_a_server_needs(missing):
    with pytest.raises(SettingsError, match="HYPERNET_S3_ACCESS_KEY"):
        bucket(read_settings(store_url="s3://abc", **{name: S3[name] for name in S3 if name != missing}), "s3://abc")


def test_a_server_that_cannot_be_reached_is_named_within_the_time_out_and_its_secret_is_not(tmp_path):
    import time

    make_key_file(tmp_path / "keys.json")
    settings = read_settings(
        store_url="s3://adapters", root_keys_file=tmp_path / "keys.json", store_timeout_s=0.5, **S3
    )
    start = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:9 \(bucket adapters\).*cannot be reached") as caught:
        open_store(settings)
    assert time.monotonic() - start < 5
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "keys"), [("s3://a", "s3://a-keys/"), ("s3://a/b/c", "s3://a-keys/b/c"), ("s3://a/", "s3://a-keys/")]
)
def test_keys_lie_in_a_bucket_of_their_own(url, keys):
    assert keys_url(read_settings(store_url=url)) == keys
    assert keys_url(read_settings(store_url=url, keys_url="s3://elsewhere")) == "s3://elsewhere"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"keys": 1}',
        '{"keys": [{"id": "00", "secret": "AAAA"}]}',
        '{"keys": [{"id": "' + "0" * 32 + '", "secret": "c2VjcmV0"}]}',
    ],
)
def test_root_keys_that_are_none_are_refused_without_repeating_them(text):
    with pytest.raises(SettingsError, match="does not hold root keys") as caught:
        keys_from_text(text, source="The file")
    assert "c2VjcmV0" not in str(caught.value)


def test_root_keys_come_out_as_they_went_in():
    keys = [new_key(), new_key()]
    wrapped = HeldKeys(keys).wrap(b"s" * 32, tenant="acme")
    read = keys_from_text(keys_to_text(keys), source="x")
    assert read.current == keys[0].key_id
    assert read.unwrap(wrapped, tenant="acme") == b"s" * 32


def test_root_key_file_that_others_may_read_is_refused(tmp_path):
    make_key_file(tmp_path / "keys.json")
    os.chmod(tmp_path / "keys.json", 0o644)  # noqa: PTH101  (what an operator would do)
    with pytest.raises(SettingsError, match="chmod 600"):
        keys_from_file(tmp_path / "keys.json")


def test_root_key_file_is_made_once(tmp_path):
    make_key_file(tmp_path / "keys.json")
    first = (tmp_path / "keys.json").read_text()
    make_key_file(tmp_path / "keys.json")
    assert (tmp_path / "keys.json").read_text() == first
    assert [path.name for path in Path(tmp_path).iterdir()] == ["keys.json"]
    assert len(json.loads(first)["keys"]) == 1


def test_store_in_a_directory_needs_no_settings(tmp_path):
    keys = HeldKeys([new_key()])
    AdapterStore.in_directory(tmp_path, provider=keys).put(ADA, sample_adapter())
    assert AdapterStore.in_directory(str(tmp_path), provider=keys).head(ADA).version == 1
