import json
import pickle

import pytest

from hypernet.errors import AuthenticationError, InvalidName, SettingsError
from hypernet.settings import Settings, read_settings
from serving.keys import KeyRing, new_key, read_keys

KEY = "a-long-enough-secret"


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch):
    for name in Settings.model_fields:
        monkeypatch.delenv(f"HYPERNET_{name.upper()}", raising=False)


def test_key_opens_its_tenants_scope_and_no_other():
    ring = KeyRing.from_keys({KEY: "acme", KEY + "2": "rival"})

    assert ring.scope_of(f"Bearer {KEY}").tenant == "acme"
    assert ring.scope_of(f"bearer  {KEY}2 ").tenant == "rival"


@pytest.mark.parametrize("header", [None, "", "Bearer", f"Basic {KEY}", KEY, f"Bearer {KEY[:-1]}", f"Bearer {KEY}\xff"])
def test_key_that_is_not_known_opens_nothing(header):
    with pytest.raises(AuthenticationError) as caught:
        KeyRing.from_keys({KEY: "acme"}).scope_of(header)

    assert KEY[:-1] not in caught.value.message


def test_key_ring_holds_no_key():
    assert KEY.encode() not in pickle.dumps(KeyRing.from_keys({KEY: "acme"}))


def test_key_that_is_short_is_refused_without_being_repeated():
    with pytest.raises(SettingsError) as caught:
        KeyRing.from_keys({KEY: "acme", "short": "acme"})

    assert "number 2" in caught.value.message
    assert "short" not in caught.value.message


def test_key_of_a_tenant_with_a_bad_name_is_refused():
    with pytest.raises(InvalidName):
        KeyRing.from_keys({KEY: "../acme"})


def test_new_keys_are_long_and_different():
    assert len({new_key() for _ in range(100)}) == 100
    assert KeyRing.from_keys({new_key(): "acme"})


def test_keys_come_from_the_variable_or_the_file(tmp_path):
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({KEY: "acme"}))

    assert read_keys(read_settings()) == {}
    assert read_keys(read_settings(api_keys=json.dumps({KEY: "acme"}))) == {KEY: "acme"}
    assert read_keys(read_settings(api_keys_file=file)) == {KEY: "acme"}
    with pytest.raises(SettingsError, match="not both"):
        read_keys(read_settings(api_keys="{}", api_keys_file=file))
    with pytest.raises(SettingsError, match=r"missing\.json"):
        read_keys(read_settings(api_keys_file=tmp_path / "missing.json"))


@pytest.mark.parametrize("content", [KEY, "[]", "{}", json.dumps({KEY: 1}), json.dumps([KEY])])
def test_keys_of_another_shape_are_refused_without_being_repeated(content):
    with pytest.raises(SettingsError) as caught:
        read_keys(read_settings(api_keys=content))

    assert KEY not in caught.value.message
    assert caught.value.__cause__ is None
