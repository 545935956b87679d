"""The chat format of the embedded base model: its special tokens, its template, and rows of token ids with loss
weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Role = Literal["system", "user", "assistant"]

PAD, END = "<|pad|>", "<|end|>"
ROLE_TOKENS: dict[Role, str] = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}
SPECIAL_TOKENS = (PAD, END, *ROLE_TOKENS.values())

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One message, and whether the model learns to say it."""

    role: Role
    content: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """A tokenised conversation.

    Attributes:
        ids: token ids of the whole chat.
        replies: for every assistant turn, the half-open range of ``ids`` that the model must produce, end token
            included.
    """

    ids: tuple[int, ...]
    replies: tuple[tuple[int, int], ...]


class ChatEncoder:
    """Turns conversations into rows, exactly as the chat template would render them."""

    def __init__(self, tokenizer: "PreTrainedTokenizerFast") -> None:
        self._backend = tokenizer.backend_tokenizer
        self._role_ids = {role: tokenizer.convert_tokens_to_ids(token) for role, token in ROLE_TOKENS.items()}
        self._end_id = tokenizer.convert_tokens_to_ids(END)
        self.pad_id: int = tokenizer.convert_tokens_to_ids(PAD)

    def rows(self, conversations: Sequence[Sequence[Turn]]) -> list[Row]:
        """Rows of ``conversations``, tokenised in one batch."""
        contents = [turn.content for turns in conversations for turn in turns]
        encoded = iter(self._backend.encode_batch_fast(contents, add_special_tokens=False))
        return [self._row(turns, [next(encoded).ids for _ in turns]) for turns in conversations]

    def _row(self, turns: Sequence[Turn], contents: Sequence[Sequence[int]]) -> Row:
        ids: list[int] = []
        replies: list[tuple[int, int]] = []
        for turn, content in zip(turns, contents, strict=True):
            ids.append(self._role_ids[turn.role])
            start = len(ids)
            ids.extend(content)
            ids.append(self._end_id)
            if turn.role == "assistant":
                replies.append((start, len(ids)))
        return Row(ids=tuple(ids), replies=tuple(replies))
