"""Chunks: nothing lost, none too long, cut where a reader would cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypernet.documents import split_into_chunks

MARKUP = 3


def in_characters(text: str) -> int:
    return len(text) + MARKUP


def in_bytes(text: str) -> int:
    return len(text.encode()) + MARKUP


def in_words(text: str) -> int:
    return len(text.split()) + MARKUP


def squeezed(text: str) -> str:
    return "".join(text.split())


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(str.strip)
prose = st.lists(st.sampled_from(["bees ", "river. ", "I ", "\n", "\n\n", "Ōsaka, ", "🐝", "! "]), min_size=1).map(
    "".join
)


@given(text=texts | prose.filter(str.strip), room=st.integers(4, 40), count=st.sampled_from([in_characters, in_bytes]))
def test_chunks_fit_and_hold_every_character_in_order(text, room, count):
    chunks = split_into_chunks(text, count_tokens=count, chunk_tokens=room + MARKUP)

    assert all(count(chunk) <= room + MARKUP for chunk in chunks)
    assert all(chunk.strip() for chunk in chunks)
    assert squeezed("".join(chunks)) == squeezed(text)


@given(text=texts, room=st.integers(4, 400))
def test_text_that_fits_comes_back_as_it_is(text, room):
    if in_bytes(text) <= room:
        assert split_into_chunks(text, count_tokens=in_bytes, chunk_tokens=room) == [text]


@given(words=st.lists(st.text("abc", min_size=1, max_size=5), min_size=1, max_size=120))
def test_words_are_kept_whole(words):
    chunks = split_into_chunks(" ".join(words), count_tokens=in_characters, chunk_tokens=20 + MARKUP)
    assert [word for chunk in chunks for word in chunk.split()] == words


@given(count=st.integers(20, 400), room=st.integers(20, 60))
def test_chunks_of_even_prose_are_of_like_size(count, room):
    chunks = split_into_chunks(" ".join(["bee"] * count), count_tokens=in_words, chunk_tokens=room + MARKUP)
    sizes = [len(chunk.split()) for chunk in chunks]
    assert max(sizes) <= 2 * min(sizes)


def test_paragraphs_are_kept_whole_where_they_fit():
    paragraphs = [f"Paragraph {number}. It has two sentences." for number in range(8)]
    chunks = split_into_chunks("\n\n".join(paragraphs), count_tokens=in_characters, chunk_tokens=100)
    assert [line for chunk in chunks for line in chunk.split("\n\n")] == paragraphs


def test_sentences_are_kept_whole_where_they_fit():
    sentences = [f"This is the sentence of number {number}." for number in range(9)]
    chunks = split_into_chunks(" ".join(sentences), count_tokens=in_characters, chunk_tokens=120)
    assert all(chunk.endswith(".") and chunk.startswith("This") for chunk in chunks)


def test_word_longer_than_a_chunk_is_cut_between_code_points():
    chunks = split_into_chunks("🐝" * 10, count_tokens=in_bytes, chunk_tokens=2 * 4 + MARKUP)
    assert "".join(chunks) == "🐝" * 10


def test_chunks_too_small_for_a_character_are_refused():
    with pytest.raises(ValueError, match="too small"):
        split_into_chunks("🐝🐝", count_tokens=in_bytes, chunk_tokens=3 + MARKUP)
