from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypernet.errors import StoreCorrupt
from hypernet.storage.sealing import DataKey, key_id_of, new_key, seal, unseal

KEY = new_key()
PLACE = ("adapter", "acme/ada/", "d" * 64, "3")


def test_seal_and_unseal_give_the_bytes_again():
    for data in (b"", b"x", bytes(100_000)):
        sealed = seal(data, key=KEY, place=PLACE)
        assert unseal(sealed, key=KEY, place=PLACE) == data
        assert len(sealed) == len(data) + 53
        assert key_id_of(sealed) == KEY.key_id


def test_seal_never_gives_the_same_bytes_twice():
    assert len({seal(b"persona", key=KEY, place=PLACE) for _ in range(100)}) == 100


def test_unseal_refuses_every_changed_bit_and_every_cut():
    sealed = seal(b"persona", key=KEY, place=PLACE)
    for bit in range(8 * len(sealed)):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(StoreCorrupt):
            unseal(bytes(changed), key=KEY, place=PLACE)
    for length in range(len(sealed)):
        with pytest.raises(StoreCorrupt):
            unseal(sealed[:length], key=KEY, place=PLACE)


def test_unseal_refuses_another_key_and_another_name_for_the_same_key():
    sealed = seal(b"persona", key=KEY, place=PLACE)
    with pytest.raises(StoreCorrupt):
        unseal(sealed, key=new_key(), place=PLACE)
    other_name = sealed[:9] + new_key().secret[:16] + sealed[25:]
    with pytest.raises(StoreCorrupt):
        unseal(other_name, key=KEY, place=PLACE)


@given(place=st.lists(st.text(max_size=8), min_size=1, max_size=4), other=st.lists(st.text(max_size=8), max_size=4))
def test_unseal_refuses_every_other_place_however_its_parts_are_cut(place, other):
    if any("\ud800" <= character <= "\udfff" for part in place + other for character in part):
        return  # a store's places are made of rendered names, which have none
    sealed = seal(b"persona", key=KEY, place=place)
    if other == place:
        assert unseal(sealed, key=KEY, place=other) == b"persona"
        return
    with pytest.raises(StoreCorrupt):
        unseal(sealed, key=KEY, place=other)


def test_unseal_tells_places_apart_that_read_the_same_in_a_row():
    places = [("a", "bc"), ("ab", "c"), ("abc",), ("a", "b", "c"), ("", "abc"), ("abc", "")]
    for one, other in combinations(places, 2):
        with pytest.raises(StoreCorrupt):
            unseal(seal(b"x", key=KEY, place=one), key=KEY, place=other)


def test_data_key_shows_no_secret():
    key = DataKey(key_id="ab" * 16, secret=b"secret-secret-secret-secret-secr")
    assert "secret-" not in repr(key)
