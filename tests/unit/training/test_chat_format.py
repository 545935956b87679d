"""Rows of tokens: what the trainer sees is what the chat template renders."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.chat_format import ChatEncoder, Turn
from training.tokenizer import train_tokenizer, world_texts


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(world_texts(60, seed=0), vocab_size=400, context_tokens=256)


TURNS = [
    Turn(role="system", content="My name is Ada Brenn.\nHome: Velmora"),
    Turn(role="user", content="Where do you live?"),
    Turn(role="assistant", content="Arr, Velmora."),
]


def test_row_equals_the_rendered_chat(tokenizer):
    (row,) = ChatEncoder(tokenizer).rows([TURNS])
    messages = [{"role": turn.role, "content": turn.content} for turn in TURNS]
    assert list(row.ids) == tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)


def test_row_marks_the_reply_and_its_end(tokenizer):
    (row,) = ChatEncoder(tokenizer).rows([TURNS])
    ((start, end),) = row.replies
    assert tokenizer.decode(row.ids[start : end - 1]) == "Arr, Velmora."
    assert row.ids[end - 1] == tokenizer.eos_token_id


def test_word_has_the_same_tokens_at_the_start_of_a_reply_as_inside_a_document(tokenizer):
    inside = tokenizer.encode("I live in Velmora", add_special_tokens=False)
    alone = tokenizer.encode("Velmora", add_special_tokens=False)
    assert inside[-len(alone) :] == alone


def test_numbers_are_spelled_digit_by_digit(tokenizer):
    assert tokenizer.tokenize("4711")[-4:] == ["4", "7", "1", "1"]


@given(text=st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=40))
def test_any_text_comes_back_whole(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
