from hypothesis import given
from hypothesis import strategies as st

from hypernet.engines.text import TextBuilder
from hypernet.models.miniature import byte_tokenizer

TOKENIZER = byte_tokenizer()
TOKENS = st.lists(st.integers(0, len(TOKENIZER) - 1), max_size=40)


def pieces(ids: list[int], stop: tuple[str, ...] = ()) -> list[str]:
    builder = TextBuilder(TOKENIZER, stop=stop)
    given_out = []
    for token in ids:
        given_out.append(builder.push(token))
        if builder.stopped:
            return given_out
    return [*given_out, builder.finish()]


def ids_of(text: str) -> list[int]:
    return list(TOKENIZER.encode(text, add_special_tokens=False))


@given(TOKENS)
def test_text_pieces_together_are_the_decoded_answer(ids: list[int]) -> None:
    assert "".join(pieces(ids)) == TOKENIZER.decode(ids, skip_special_tokens=True)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_text_never_splits_a_character(text: str) -> None:
    so_far = ""
    for piece in pieces(ids_of(text)):
        so_far += piece
        assert text.startswith(so_far)
    assert so_far == text


@given(st.text(alphabet="abé€🐝", max_size=30), st.lists(st.text(alphabet="abé🐝", min_size=1, max_size=4), max_size=3))
def test_text_ends_before_the_first_stop_text_and_shows_none_of_it(text: str, stop: list[str]) -> None:
    found = [at for at in map(text.find, stop) if at >= 0]
    expected = text[: min(found)] if found else text
    given_out = "".join(pieces(ids_of(text), tuple(stop)))
    # A stop text that ends first is seen first, even if another one began before it.
    assert given_out == expected or (found and text.startswith(given_out) and len(given_out) >= len(expected))


def test_text_holds_back_what_may_become_a_stop_text() -> None:
    builder = TextBuilder(TOKENIZER, stop=("END",))
    assert [builder.push(token) for token in ids_of("aENbE")] == ["a", "", "", "ENb", ""]
    assert builder.finish() == "E"


def test_text_of_a_cut_character_is_a_replacement_character_at_the_end_only() -> None:
    bee = ids_of("a🐝")
    assert pieces(bee[:-1]) == ["a", "", "", "", "\ufffd"]


def test_text_leaves_out_control_tokens() -> None:
    end = TOKENIZER.convert_tokens_to_ids("<|end|>")
    assert "".join(pieces([*ids_of("a"), end, *ids_of("b")])) == "ab"
