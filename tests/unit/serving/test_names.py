from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypernet.errors import InvalidName
from serving.model_ids import ModelId, parse_model_id
from serving.user_names import decoded_user


@pytest.mark.parametrize(
    ("segment", "user"),
    [
        ("ada", "ada"),
        ("%61da", "ada"),
        ("a%2Fb", "a/b"),
        ("%252F", "%2F"),
        ("a+b", "a+b"),
        ("%E2%9C%93", "\u2713"),
        ("\xe2\x9c\x93", "\u2713"),
        ("%00", "\0"),
        ("..", ".."),
    ],
)
def test_user_in_path_is_decoded_exactly_once(segment, user):
    assert decoded_user(segment) == user


@pytest.mark.parametrize("segment", ["%ED%A0%80", "%FF", "%C3", "%", "100%", "%zz", "%e", "\u2713", "%C0%AE"])
def test_user_in_path_that_is_no_utf8_is_refused(segment):
    with pytest.raises(InvalidName) as caught:
        decoded_user(segment)

    assert caught.value.param == "user"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_user_in_path_comes_back_as_it_was_quoted(user):
    assert decoded_user(quote(user, safe="")) == user


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("tiny", ModelId(base="tiny")),
        ("tiny:ada", ModelId(base="tiny", user="ada")),
        ("tiny:ada@3", ModelId(base="tiny", user="ada", version=3)),
        ("tiny:ada@", ModelId(base="tiny", user="ada@")),
        ("tiny:ada@home.org", ModelId(base="tiny", user="ada@home.org")),
        ("tiny:ada@home.org@12", ModelId(base="tiny", user="ada@home.org", version=12)),
        ("tiny:a:b", ModelId(base="tiny", user="a:b")),
        ("tiny:\u0665@\u0665", ModelId(base="tiny", user="\u0665@\u0665")),
    ],
)
def test_model_id_is_base_user_and_version(text, model):
    assert parse_model_id(text) == model
    assert str(model) == text


@pytest.mark.parametrize("text", ["tiny:", "tiny:@3", ":"])
def test_model_id_with_a_colon_needs_a_user(text):
    with pytest.raises(InvalidName):
        parse_model_id(text)


def test_model_id_version_of_a_million_digits_is_a_version_nobody_has():
    assert parse_model_id("tiny:ada@" + "9" * 1_000_000).version == 10**9
