"""The control plane: a user's adapter, made, read, rolled back, downloaded and deleted."""

from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from hypernet.documents import Document
from hypernet.errors import UnsupportedMediaType, VersionNotFound
from hypernet.storage import TenantScope
from serving.bodies import json_object, validated
from serving.keys import KeyRing
from serving.model_ids import version_number
from serving.preconditions import Preconditions, entity_tag
from serving.requests import authenticated, error_statuses, json_answer, preconditions, user_in_path
from serving.schemas import AdapterInfo, AdapterWritten, DocumentBody, Timings, VersionList
from serving.service import Service

# A shared cache must not keep one tenant's answer; a private one must ask before it uses its copy.
_CACHING = {"Cache-Control": "private, no-cache", "Vary": "Authorization"}

_DOCUMENT_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "text/plain": {"schema": {"type": "string"}},
            "text/markdown": {"schema": {"type": "string"}},
            "application/json": {"schema": {"$ref": "#/components/schemas/DocumentBody"}},
        },
    }
}


class ContentFormat(StrEnum):
    """What a downloaded adapter comes as."""

    ZIP = "zip"
    SAFETENSORS = "safetensors"


def adapter_routes(service: Service, keys: KeyRing) -> APIRouter:
    """Routes below `/v1/users/{user}/adapter`."""
    scope_dependency = authenticated(keys)
    Scope = Annotated[TenantScope, Depends(scope_dependency)]
    User = Annotated[str, Depends(user_in_path)]
    Conditions = Annotated[Preconditions, Depends(preconditions)]
    routes = APIRouter(
        prefix="/v1/users/{user}/adapter",
        tags=["adapters"],
        # First of all the key: nobody learns anything about a name without one.
        dependencies=[Depends(scope_dependency)],
        responses=error_statuses(400, 401),
    )

    @routes.put(
        "",
        summary="Make a user's adapter from a document, or from several",
        response_model=AdapterWritten,
        responses={201: {"model": AdapterWritten}, **error_statuses(412, 413, 415, 429, 503)},
        openapi_extra=_DOCUMENT_BODY,
    )
    async def write(request: Request, scope: Scope, user: User, conditions: Conditions) -> Response:
        """Reads the document, makes the adapter and stores it as the user's new active version, durably.

        201 for the user's first adapter, 200 for a later one. The same document again changes nothing. As JSON, several
        documents may be sent at once, and a strength.
        """
        scope.user(user)
        documents, strength = _documents(request.headers.get("content-type", ""), await request.body())
        written = await service.write(scope, user, documents, strength=strength, preconditions=conditions)
        timings = written.generation.timings
        answer = AdapterWritten(
            **AdapterInfo.of(written.stored, base=service.base).model_dump(),
            document_tokens=written.generation.document_tokens,
            chunks=written.generation.chunks,
            strength=written.generation.strength,
            timings_ms=Timings(
                encode=round(timings.encode_ms, 2),
                generate=round(timings.generate_ms, 2),
                serialise=round(timings.serialise_ms, 2),
                store=round(written.store_ms, 2),
                total=round(written.total_ms, 2),
            ),
        )
        status = 201 if written.created else 200
        return json_answer(answer, status=status, headers={"ETag": entity_tag(written.stored)})

    @routes.get(
        "",
        summary="Describe a user's active adapter",
        response_model=AdapterInfo,
        responses={304: {"description": "The ETag in If-None-Match is the present one."}, **error_statuses(404, 412)},
    )
    async def read(scope: Scope, user: User, conditions: Conditions) -> Response:
        """Version, digest and origin of the adapter that answers for the user."""
        stored = await service.head(scope, user)
        headers = {"ETag": entity_tag(stored), **_CACHING}
        if conditions.not_modified(headers["ETag"]):
            return Response(status_code=304, headers=headers)
        return json_answer(AdapterInfo.of(stored, base=service.base), headers=headers)

    @routes.delete(
        "",
        summary="Delete a user's adapter",
        status_code=204,
        response_class=Response,
        responses=error_statuses(404, 412),
    )
    async def delete(scope: Scope, user: User, conditions: Conditions) -> Response:
        """Removes every version and the user's key. Answers in progress go on to their end; new requests get a 404."""
        await service.delete(scope, user, preconditions=conditions)
        return Response(status_code=204)

    @routes.get(
        "/content",
        summary="Download a user's active adapter",
        response_class=Response,
        responses={
            200: {"content": {"application/zip": {}, "application/octet-stream": {}}},
            304: {"description": "The ETag in If-None-Match is the present one."},
            **error_statuses(404, 412),
        },
    )
    async def content(
        scope: Scope,
        user: User,
        conditions: Conditions,
        content_format: Annotated[ContentFormat, Query(alias="format")] = ContentFormat.ZIP,
    ) -> Response:
        """As a PEFT folder in a zip archive, its files at the root, or as the safetensors file alone."""
        as_zip = content_format is ContentFormat.ZIP
        stored, data = await service.content(scope, user, as_zip=as_zip)
        headers = {"ETag": entity_tag(stored, part=content_format.value), **_CACHING}
        if conditions.not_modified(headers["ETag"]):
            return Response(status_code=304, headers=headers)
        headers["Content-Disposition"] = f'attachment; filename="adapter_model.{content_format.value}"'
        return Response(data, media_type="application/zip" if as_zip else "application/octet-stream", headers=headers)

    @routes.get(
        "/versions",
        summary="List the versions of a user's adapter",
        response_model=VersionList,
        responses=error_statuses(404),
    )
    async def versions(scope: Scope, user: User) -> Response:
        """Every version, oldest first."""
        found = await service.versions(scope, user)
        answer = VersionList(user=user, versions=[AdapterInfo.of(stored, base=service.base) for stored in found])
        return json_answer(answer, headers=_CACHING)

    @routes.post(
        "/versions/{version}:activate",
        summary="Roll a user's adapter back, or forward, to a version",
        response_model=AdapterInfo,
        responses=error_statuses(404, 412),
    )
    async def activate(scope: Scope, user: User, version: str, conditions: Conditions) -> Response:
        """Makes the version the one that chat requests get."""
        if not (version.isascii() and version.isdigit()):
            raise VersionNotFound("Expected a version number in the path, got something else.", param="version")
        stored = await service.activate(scope, user, version_number(version), preconditions=conditions)
        return json_answer(AdapterInfo.of(stored, base=service.base), headers={"ETag": entity_tag(stored)})

    return routes


def _documents(content_type: str, body: bytes) -> tuple[list[Document], float | None]:
    """Documents and strength in a request body; raises `UnsupportedMediaType`, `InvalidRequest`, `DocumentError`."""
    media_type, _, parameters = content_type.partition(";")
    kind = media_type.strip().lower()
    charset = parameters.lower().partition("charset=")[2].partition(";")[0].strip().strip('"')
    if kind not in ("", "text/plain", "text/markdown", "application/json") or charset not in ("", "utf-8", "utf8"):
        raise UnsupportedMediaType(
            "Expected a document as text/plain, text/markdown or application/json in UTF-8; "
            "with curl, add -H 'Content-Type: text/plain'.",
            param="content-type",
        )
    if kind == "application/json":
        asked = validated(DocumentBody, json_object(body))
        return [Document.from_text(text, source="json") for text in asked.texts], asked.strength
    return [Document.from_bytes(body, source="markdown" if kind == "text/markdown" else "text")], None
