from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hypernet.errors import InvalidName
from hypernet.storage.keys import TenantScope, check_name, segment

# Made of what could be confused with something: separators, escapes, case, dots, halves of characters.
TRICKY = st.text(alphabet="aAzZ0-_.%~/\\@: ıİßéÉ\u0301\u212a\ufeff你😀\x00\x7f\u200d", min_size=1, max_size=140)
NAMES = (TRICKY | st.text(max_size=140)).filter(lambda name: _is_allowed(name))


def _is_allowed(name: str) -> bool:
    try:
        check_name(name, what="user")
    except InvalidName:
        return False
    return True


def _prefix(tenant: str, user: str) -> str:
    return TenantScope(tenant).user(user).prefix


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a..b",
        "../ada",
        "a/b",
        "a\\b",
        "ada\0",
        "ada\n",
        "\x1b[2J",
        "\x85",
        "\ud800",
        "ada\udfff",
        " ada",
        "ada\u3000",
        "ada@3",
        "x" * 129,
        "x" * 10_000,
    ],
    ids=lambda name: ascii(name)[:20],
)
def test_key_refuses_a_name_without_repeating_it(name):
    for make in (TenantScope, TenantScope("acme").user):
        with pytest.raises(InvalidName) as caught:
            make(name)
        assert len(name) < 3 or name not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["ada", "Ada Lovelace", "ada@example.com", "你好", "😀" * 128, "A" * 128, "a.b", "CON", "ada@3rd", "@home"]
)
def test_key_allows_every_script_and_ordinary_signs(name):
    key = TenantScope("acme").user(name)

    assert (key.tenant, key.user) == ("acme", name)


def test_key_of_the_refused_name_says_which_field_it_was():
    with pytest.raises(InvalidName) as caught:
        TenantScope("acme").user("")

    assert caught.value.param == "user"


def test_key_prefixes_read_as_they_always_will():
    # A change of these loses every adapter that is stored.
    assert _prefix("acme", "ada") == "acme/ada/"
    assert _prefix("Acme", "Zoë @x.com") == "%41cme/%5ao%c3%ab%20%40x%2ecom/"
    digest = "bf6841c51e5f0c76f038fd90addd02a450331ee2578a4578653ad89fbbd4406d"
    assert _prefix("acme", "你" * 60) == "acme/" + "%e4%bd%a0" * 14 + f"%e~{digest}/"


def test_key_of_one_user_is_no_prefix_of_the_next():
    assert not _prefix("acme", "user10").startswith(_prefix("acme", "user1"))
    # The twin: without the closing slash it would be.
    assert _prefix("acme", "user10").startswith(_prefix("acme", "user1").rstrip("/"))


def test_key_hides_names_from_logs():
    assert "ada" not in repr(TenantScope("acme").user("ada"))
    assert "acme" not in repr(TenantScope("acme").user("ada"))


def _folded(prefix: str) -> str:
    return prefix.casefold()


@given(st.tuples(NAMES, NAMES), st.tuples(NAMES, NAMES))
@example(("acme", "Ada"), ("acme", "ada"))
@example(("acme", "\u212a"), ("acme", "k"))
@example(("acme", "é"), ("acme", "e\u0301"))
@example(("acme", "%41da"), ("acme", "Ada"))
@example(("a", "b"), ("a%2fb", "b"))
@example(("acme", "A" * 127), ("acme", "A" * 128))
def test_key_prefixes_of_different_names_are_different_and_apart_even_where_case_is_ignored(one, other):
    first, second = _folded(_prefix(*one)), _folded(_prefix(*other))

    assert (first == second) == (one == other)
    if one != other:
        assert not first.startswith(second)
        assert not second.startswith(first)


def test_key_made_by_ordinary_percent_encoding_would_fail_that_test():
    assert _folded(quote("Ada")) == _folded(quote("ada"))


@given(NAMES)
def test_key_segments_are_safe_file_names(name):
    result = segment(name)

    assert 1 <= len(result) <= 200
    assert set(result) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-%~")
    assert result == result.casefold()


@given(st.text(max_size=200) | TRICKY)
def test_key_of_any_text_is_made_or_refused_by_an_error_of_ours(name):
    try:
        prefix = _prefix("acme", name)
    except InvalidName:
        return
    assert prefix.startswith("acme/")
    assert prefix.count("/") == 2
