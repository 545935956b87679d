"""The chat API's request and answers, in OpenAI's shapes."""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr

from hypernet.engines import Sampling
from hypernet.errors import InvalidRequest, UnsupportedParameter
from serving.bodies import json_object, validated

DEFAULT_MAX_TOKENS = 128

# Parameters of OpenAI's that clients send at the value that asks for nothing. At that value they are honoured by doing
# nothing; at any other they are refused.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "n": (1,),
    "parallel_tool_calls": (True,),
    "presence_penalty": (0,),
    "response_format": ({"type": "text"},),
    "store": (False,),
    "tools": ([],),
    "top_logprobs": (0,),
}


class TextPart(BaseModel):
    """A piece of a message."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]
    text: StrictStr


class ChatMessage(BaseModel):
    """One turn of the conversation."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    role: Literal["system", "developer", "user", "assistant"]
    """Who speaks; `developer` is OpenAI's newer word for `system` and means the same."""

    content: StrictStr | Annotated[list[TextPart], Field(min_length=1)]
    """What is said: a string, or a list of text parts, which are joined."""

    def rendered(self) -> dict[str, str]:
        """The message as the chat template takes it."""
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class StreamOptions(BaseModel):
    """Options of a streamed answer."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    include_usage: StrictBool = False
    """Whether a last chunk before `[DONE]` carries the token counts."""


class ChatRequest(BaseModel):
    """A request for the next turn of a conversation. A parameter that is not listed is refused by name."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    model: Annotated[StrictStr, Field(min_length=1, max_length=1024)]
    """`base` for the base model alone, `base:user` for a user's active adapter, `base:user@3` for version 3 of it."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    """The conversation so far, oldest turn first."""

    max_tokens: Annotated[StrictInt, Field(ge=1)] | None = None
    """Longest answer, in tokens; 128 when neither this nor `max_completion_tokens` is given."""

    max_completion_tokens: Annotated[StrictInt, Field(ge=1)] | None = None
    """OpenAI's newer name for `max_tokens`; give one of them."""

    temperature: Annotated[StrictFloat | StrictInt, Field(ge=0, le=2)] = 0
    """0 (the default here) always takes the likeliest token; higher values draw more freely."""

    top_p: Annotated[StrictFloat | StrictInt, Field(gt=0, le=1)] = 1
    """Draws only from the likeliest tokens that together hold this probability."""

    stop: StrictStr | Annotated[list[StrictStr], Field(max_length=4)] | None = None
    """Up to four texts that end the answer where they appear; they are not part of it."""

    seed: Annotated[StrictInt, Field(ge=0, lt=1 << 63)] | None = None
    """Makes drawn answers repeatable: same request and seed, same answer."""

    stream: StrictBool = False
    """Whether the answer comes as server-sent events while it is made."""

    stream_options: StreamOptions | None = None
    """Only with `stream`."""

    @property
    def include_usage(self) -> bool:
        """Whether the stream ends with the token counts."""
        return self.stream_options is not None and self.stream_options.include_usage

    def sampling(self) -> Sampling:
        """What the engine is asked to do."""
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        return Sampling(
            max_tokens=self.max_completion_tokens or self.max_tokens or DEFAULT_MAX_TOKENS,
            temperature=float(self.temperature),
            top_p=float(self.top_p),
            stop=stop,
            seed=self.seed,
        )


def parse_chat_request(body: bytes) -> ChatRequest:
    """The chat request in `body`.

    Raises `UnsupportedParameter` for a parameter not honoured here and `InvalidRequest` for one that is malformed.
    """
    # A null means absent, as it does for OpenAI.
    values = {name: value for name, value in json_object(body).items() if value is not None}
    for name in sorted(values):
        if name in _NEUTRAL:
            sent = values.pop(name)
            # In Python 0 equals False, in JSON it does not.
            if not any(sent == value and isinstance(sent, bool) == isinstance(value, bool) for value in _NEUTRAL[name]):
                only = " or ".join(json.dumps(value) for value in _NEUTRAL[name])
                raise UnsupportedParameter(f"The parameter {name!r} is supported only as {only}.", param=name)
        elif name not in ChatRequest.model_fields:
            shown = name if len(name) <= 64 and name.isprintable() else "of that name"
            raise UnsupportedParameter(f"The parameter {shown!r} is not supported; leave it out.", param=shown)
    request = validated(ChatRequest, values)
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        raise InvalidRequest("Give max_tokens or max_completion_tokens, not both.", param="max_tokens")
    if request.stream_options is not None and not request.stream:
        raise InvalidRequest("stream_options needs stream to be true.", param="stream_options")
    if any(not text for text in request.sampling().stop):
        raise InvalidRequest("A stop text must not be empty.", param="stop")
    return request


class Usage(BaseModel):
    """Token counts of one answer."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class AnswerMessage(BaseModel):
    """What the model said."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(BaseModel):
    """The answer and why it ended."""

    index: int = 0
    message: AnswerMessage
    logprobs: None = None
    finish_reason: Literal["stop", "length"]


class ChatCompletion(BaseModel):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    system_fingerprint: str
    """Digest of the adapter that answered; of the base model where it answered alone."""


class Model(BaseModel):
    """A model id that this key may chat with."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class ModelList(BaseModel):
    """One page of model ids."""

    object: Literal["list"] = "list"
    data: list[Model]
    has_more: bool
