"""The ASGI application: every route over one service."""

from importlib.metadata import version
from typing import Any, Literal

from fastapi import APIRouter, FastAPI
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from serving.adapter_routes import adapter_routes
from serving.asgi import BodyLimit, Gate, Gated, RawPaths, RequestIds
from serving.chat_routes import chat_routes
from serving.chat_schema import ChatRequest
from serving.docs_page import docs_page
from serving.erasure_routes import erasure_routes
from serving.errors import ErrorBoundary, install_error_handlers
from serving.keys import KeyRing
from serving.requests import error_statuses, json_answer
from serving.schemas import DocumentBody, Health
from serving.service import Service

_BODIES: list[tuple[type[BaseModel], Literal["validation"]]] = [
    (ChatRequest, "validation"),
    (DocumentBody, "validation"),
]


class _Application(FastAPI):
    """Describes also the bodies that routes read by themselves."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        document = super().openapi()
        _, schemas = models_json_schema(_BODIES, ref_template="#/components/schemas/{model}")
        document["components"]["schemas"].update(schemas["$defs"])
        return document


def create_app(
    service: Service, *, keys: KeyRing, max_body_bytes: int, gate: Gate | None = None, behind_ray: bool = False
) -> FastAPI:
    """The application over `service`, which the caller closes after it; shutting `gate` refuses new requests."""
    app = _Application(
        title="hypernet",
        version=version("hypernet"),
        summary="A document about someone in, a LoRA adapter out, and chat with it.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    install_error_handlers(app)
    # The last added is the outermost.
    app.add_middleware(BodyLimit, max_bytes=max_body_bytes)
    app.add_middleware(RawPaths)
    app.add_middleware(Gated, gate=gate or Gate())
    app.add_middleware(ErrorBoundary)
    app.add_middleware(RequestIds, in_header=not behind_ray)
    app.include_router(adapter_routes(service, keys))
    app.include_router(erasure_routes(service, keys))
    app.include_router(chat_routes(service, keys))
    app.include_router(_operations(service))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(docs_page(app.openapi()))

    @app.get("/", include_in_schema=False)
    async def root() -> RedirectResponse:
        return RedirectResponse("/docs")

    return app


def _operations(service: Service) -> APIRouter:
    routes = APIRouter(prefix="/health", tags=["operations"])

    @routes.get("/live", summary="Whether the process runs", response_model=Health)
    async def live() -> Response:
        """Answers as long as it can answer at all."""
        return json_answer(Health(status="ok"))

    @routes.get(
        "/ready",
        summary="Whether requests can be served",
        response_model=Health,
        responses=error_statuses(503),
    )
    async def ready() -> Response:
        """The model is loaded and the store can be written to."""
        await service.check()
        return json_answer(Health(status="ok"))

    return routes
