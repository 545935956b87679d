"""A chat answer as OpenAI's clients read it: in one piece, or as server-sent events."""

import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from serving.chat_schema import AnswerMessage, ChatCompletion, Choice, Usage
from serving.errors import error_answer, log_failure
from serving.service import Answer

DONE = b"data: [DONE]\n\n"


async def whole_answer(answer: Answer) -> ChatCompletion:
    """The answer once it has ended."""
    texts, reason = [], None
    async for delta in answer.deltas():
        texts.append(delta.text)
        reason = delta.finish_reason or reason
    return ChatCompletion(
        id=answer.id,
        created=answer.created,
        model=answer.model,
        choices=[Choice(message=AnswerMessage(content="".join(texts)), finish_reason=reason or "stop")],
        usage=_usage(answer),
        system_fingerprint=answer.fingerprint,
    )


class EventStream(StreamingResponse):
    """The answer while it is made. Gives the engine's row back when it ends or the client goes away."""

    media_type = "text/event-stream"

    def __init__(self, answer: Answer, *, include_usage: bool, request_id: str, headers: dict[str, str]) -> None:
        self._answer = answer
        # A proxy that collects the stream into one piece would take its point away.
        unbuffered = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(
            _events(answer, include_usage=include_usage, request_id=request_id), headers=headers | unbuffered
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._answer.close()


async def _events(answer: Answer, *, include_usage: bool, request_id: str) -> AsyncIterator[bytes]:
    # With include_usage, OpenAI sends the key in every chunk, null in all but the last.
    usage = {"usage": None} if include_usage else {}
    reason = None
    yield _event(answer, choices=[_choice({"role": "assistant", "content": ""})], **usage)
    try:
        async for delta in answer.deltas():
            reason = delta.finish_reason or reason
            if delta.text:
                yield _event(answer, choices=[_choice({"content": delta.text})], **usage)
    # The status line is gone, so the failure has to be told in the stream, where OpenAI's clients look for it.
    except Exception as error:  # noqa: BLE001
        log_failure(error, request_id=request_id)
        yield _data(error_answer(error, request_id=request_id).model_dump())
        return
    yield _event(answer, choices=[_choice({}, reason or "stop")], **usage)
    if include_usage:
        yield _event(answer, choices=[], usage=_usage(answer).model_dump())
    yield DONE


def _choice(delta: dict[str, str], reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}


def _event(answer: Answer, **fields: Any) -> bytes:
    return _data(
        {
            "id": answer.id,
            "object": "chat.completion.chunk",
            "created": answer.created,
            "model": answer.model,
            "system_fingerprint": answer.fingerprint,
            **fields,
        }
    )


def _data(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def _usage(answer: Answer) -> Usage:
    prompt, completion = answer.prompt_tokens, answer.completion_tokens
    return Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)
