"""The data plane, OpenAI-compatible: chat completions and the list of models."""

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from hypernet.storage import TenantScope
from serving.chat_schema import ChatCompletion, Model, ModelList, parse_chat_request
from serving.errors import request_id_of
from serving.keys import KeyRing
from serving.requests import authenticated, error_statuses, json_answer
from serving.service import Service
from serving.sse import EventStream, whole_answer

DIGEST_HEADER = "x-adapter-digest"
MAX_PAGE = 1000

_CHAT_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ChatRequest"}}},
    }
}


def chat_routes(service: Service, keys: KeyRing) -> APIRouter:
    """`/v1/chat/completions` and `/v1/models`."""
    started = int(time.time())
    scope_dependency = authenticated(keys)
    Scope = Annotated[TenantScope, Depends(scope_dependency)]
    routes = APIRouter(prefix="/v1", tags=["chat"], responses=error_statuses(400, 401))

    @routes.post(
        "/chat/completions",
        summary="Continue a conversation",
        response_model=ChatCompletion,
        responses={
            200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
            **error_statuses(404, 409, 413, 429, 503),
        },
        openapi_extra=_CHAT_BODY,
    )
    async def chat(request: Request, scope: Scope) -> Response:
        """The base model's answer, or the answer with a user's adapter, as one object or as server-sent events.

        The adapter's digest comes in the header `x-adapter-digest` and, with every chunk, in `system_fingerprint`; it
        is one and the same to the end of the stream, whatever is put for the user meanwhile.
        """
        wanted = parse_chat_request(await request.body())
        answer = await service.chat(scope, wanted)
        headers = {DIGEST_HEADER: answer.adapter} if answer.adapter is not None else {}
        if wanted.stream:
            request_id = request_id_of(request.scope)
            return EventStream(answer, include_usage=wanted.include_usage, request_id=request_id, headers=headers)
        try:
            return json_answer(await whole_answer(answer), headers=headers)
        finally:
            answer.close()

    @routes.get("/models", summary="List what this key may chat with", response_model=ModelList)
    async def models(
        scope: Scope,
        after: Annotated[str | None, Query(description="The last id of the page before.", max_length=1024)] = None,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="Ids on one page.")] = 100,
    ) -> Response:
        """The base model, and one id for every user of this tenant who has an adapter."""
        page, more = await service.models(scope, after=after, limit=limit)
        data = [
            Model(
                id=str(model),
                created=int(stored.created_at.timestamp()) if stored is not None else started,
                owned_by="hypernet" if stored is None else scope.tenant,
            )
            for model, stored in page
        ]
        return json_answer(ModelList(data=data, has_more=more))

    return routes
