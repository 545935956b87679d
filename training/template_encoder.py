"""Rows of token ids for base models with a chat template of their own."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from hypernet.errors import CheckpointInvalid
from training.chat_format import CHAT_TEMPLATE, ROLE_TOKENS, ChatEncoder, Row, Turn


@runtime_checkable
class Encoder(Protocol):
    """Turns conversations into rows."""

    pad_id: int

    def rows(self, conversations: Sequence[Sequence[Turn]]) -> list[Row]:
        """Rows of ``conversations``."""


class TemplateEncoder:
    """Rows as a tokenizer's chat template renders them; a reply is what the template adds to the prompt for it.

    Slower than `ChatEncoder`, which knows the template of the embedded base models, but right for any template under
    which a conversation begins with its own beginning.
    """

    def __init__(self, tokenizer: Any) -> None:
        if not tokenizer.chat_template:
            raise ValueError("Expected a tokenizer with a chat template; add chat_template.jinja to the base model.")
        self._tokenizer = tokenizer
        pad = tokenizer.pad_token_id
        self.pad_id: int = tokenizer.eos_token_id if pad is None else pad

    def rows(self, conversations: Sequence[Sequence[Turn]]) -> list[Row]:
        """Rows of ``conversations``. Raises `CheckpointInvalid` for a template that renders a prompt otherwise than the
        conversation that goes on from it.
        """
        return [self._row(turns) for turns in conversations]

    def _row(self, turns: Sequence[Turn]) -> Row:
        ids = self._render(turns, prompt=False)
        replies = []
        for index, turn in enumerate(turns):
            if turn.role == "assistant":
                prompt, said = self._render(turns[:index], prompt=True), self._render(turns[: index + 1], prompt=False)
                if ids[: len(said)] != said or said[: len(prompt)] != prompt:
                    raise CheckpointInvalid(
                        "The base model's chat template renders a reply otherwise once the conversation goes on, so "
                        "that what is learnt would not be what is asked. Give it conversations of one reply, or a chat "
                        "template that keeps what was said."
                    )
                replies.append((len(prompt), len(said)))
        return Row(ids=tuple(ids), replies=tuple(replies))

    def _render(self, turns: Sequence[Turn], *, prompt: bool) -> list[int]:
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        return list(
            self._tokenizer.apply_chat_template(
                messages, add_generation_prompt=prompt, tokenize=True, return_dict=False, sanitize_control_tokens=True
            )
        )


def encoder_for(tokenizer: Any) -> Encoder:
    """The quick encoder for a tokenizer with this project's chat format, otherwise the general one."""
    known = set(ROLE_TOKENS.values()) <= set(tokenizer.get_vocab())
    if known and tokenizer.chat_template == CHAT_TEMPLATE:
        return ChatEncoder(tokenizer)
    return TemplateEncoder(tokenizer)
