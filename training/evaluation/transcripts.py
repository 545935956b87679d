"""Conversations as token ids, and the loss of their replies under every arm."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from hypernet.adapters import Adapter
from hypernet.models import BaseModel
from training.chat_format import Turn
from training.evaluation.measures import Arm
from training.evaluation.respondent import Block, Respondent


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """A conversation without any document.

    Attributes:
        ids: token ids.
        replies: for every assistant turn, the half-open range of ``ids`` that the model must produce, the token that
            ends it included.
    """

    ids: tuple[int, ...]
    replies: tuple[tuple[int, int], ...]

    def cut(self, length: int) -> "Transcript":
        """The first ``length`` tokens, with the replies that are whole and what is there of the one that is not."""
        replies = ((start, min(end, length)) for start, end in self.replies if start < length)
        return Transcript(ids=self.ids[:length], replies=tuple(replies))


def transcript(base: BaseModel, turns: Sequence[Turn]) -> Transcript:
    """``turns`` under the model's chat template."""
    messages = messages_of(turns)
    replies = [
        (
            len(base.render_chat(messages[:index])),
            len(base.render_chat(messages[: index + 1], add_generation_prompt=False)),
        )
        for index, turn in enumerate(turns)
        if turn.role == "assistant"
    ]
    ids = base.render_chat(messages, add_generation_prompt=False)
    return Transcript(ids=tuple(ids), replies=tuple(replies))


def messages_of(turns: Sequence[Turn]) -> list[dict[str, str]]:
    """``turns`` as messages of a chat request."""
    return [{"role": turn.role, "content": turn.content} for turn in turns]


@dataclass(frozen=True, kw_only=True)
class Telling:
    """A conversation, and the document that may help with it.

    Attributes:
        transcript: what is scored.
        document: what the arm ``prompt`` reads before it.
    """

    transcript: Transcript
    document: str


def fit(base: BaseModel, telling: Telling) -> Telling:
    """``telling``, cut so that its document and it fit the base model's context together: every arm scores the same
    tokens.
    """
    room = base.max_context_tokens - len(base.render_document(telling.document))
    return Telling(transcript=telling.transcript.cut(max(room, 2)), document=telling.document)


def reply_losses(
    base: BaseModel,
    respondent: Respondent,
    tellings: Sequence[Telling],
    adapters: Sequence[Adapter | None],
    *,
    arm: Arm,
    progress: Callable[[int], None],
) -> list[list[tuple[float, int]]]:
    """For each conversation and each of its replies, the loss in nats and the number of tokens.

    Args:
        base: renders the documents.
        respondent: runs the model.
        tellings: conversations, as `fit` leaves them.
        adapters: what each runs under in this arm.
        arm: whether the document is in the prompt.
        progress: told how many are done.
    """
    starts = [len(base.render_document(telling.document)) if arm == "prompt" else 0 for telling in tellings]
    blocks = [
        Block(
            prefix=(),
            suffixes=((*(base.render_document(t.document) if arm == "prompt" else ()), *t.transcript.ids),),
            adapter=adapter,
        )
        for t, adapter in zip(tellings, adapters, strict=True)
    ]
    found: list[list[tuple[float, int]]] = [[] for _ in tellings]
    for done, (index, (losses,)) in enumerate(respondent.losses(blocks), start=1):
        found[index] = [
            (_total(losses, starts[index] + first, starts[index] + end), end - first)
            for first, end in tellings[index].transcript.replies
        ]
        progress(done)
    return found


def _total(losses: Tensor, first: int, end: int) -> float:
    """Nats of the tokens from ``first`` to ``end``; the loss of a token stands one place before it."""
    return float(losses[first - 1 : end - 1].double().sum())
