"""The control plane over real HTTP: what the adapter routes promise and what they refuse."""

import hashlib
import http.client
import io
import json
import zipfile
from contextlib import closing
from urllib.parse import quote

import httpx
import pytest

from tests.running import ACME, BODY_LIMIT, RIVAL, put, refusal

ADA = "My name is Ada and I keep bees by the river."
BRUNO = "I am Bruno, a baker, afraid of heights."


def test_put_creates_then_repeats_then_replaces(acme):
    first, again, other = put(acme, "lifecycle", ADA), put(acme, "lifecycle", ADA), put(acme, "lifecycle", BRUNO)

    assert [response.status_code for response in (first, again, other)] == [201, 200, 200]
    assert [response.json()["version"] for response in (first, again, other)] == [1, 1, 2]
    assert first.json()["digest"] == again.json()["digest"] != other.json()["digest"]
    assert first.headers["etag"] == again.headers["etag"] != other.headers["etag"]
    answer = first.json()
    assert set(answer["timings_ms"]) == {"encode", "generate", "serialise", "store", "total"}
    assert answer["timings_ms"]["total"] >= answer["timings_ms"]["store"] > 0
    assert answer["document_tokens"] == len(ADA) + 2
    assert (answer["user"], answer["model"], answer["active"]) == ("lifecycle", "miniature:lifecycle@1", True)


def test_put_as_json_gives_the_adapter_of_the_same_text(acme):
    as_json = acme.put("/v1/users/json/adapter", json={"document": ADA})

    assert as_json.status_code == 201
    assert as_json.json()["digest"] == put(acme, "text", ADA).json()["digest"]


def test_put_of_several_documents_makes_one_adapter_whatever_their_order(acme):
    both = acme.put("/v1/users/both/adapter", json={"documents": [ADA, BRUNO]}).json()
    turned = acme.put("/v1/users/turned/adapter", json={"documents": [BRUNO, ADA, BRUNO]}).json()
    one = acme.put("/v1/users/one/adapter", json={"documents": [ADA]}).json()

    assert both["digest"] == turned["digest"] != one["digest"] == put(acme, "text", ADA).json()["digest"]
    assert (both["chunks"], one["chunks"]) == (2, 1)
    assert both["document_tokens"] == len(ADA) + len(BRUNO) + 2 * 2
    assert both["rank"] > one["rank"]


def test_put_with_a_strength_scales_the_adapter_and_says_so(acme):
    made = {
        strength: acme.put(f"/v1/users/s{strength}/adapter", json={"document": ADA, "strength": strength}).json()
        for strength in (0, 0.5, 1)
    }

    assert [answer["strength"] for answer in made.values()] == [0, 0.5, 1]
    assert len({answer["digest"] for answer in made.values()}) == 3
    assert made[1]["digest"] == put(acme, "text", ADA).json()["digest"]


def test_adapter_of_strength_zero_answers_as_the_base_model(acme):
    acme.put("/v1/users/faint/adapter", json={"document": ADA, "strength": 0})
    put(acme, "full", ADA)
    said = {
        model: acme.post(
            "/v1/chat/completions",
            json={"model": model, "messages": [{"role": "user", "content": "Where do you live?"}], "max_tokens": 20},
        ).json()["choices"][0]["message"]["content"]
        for model in ("miniature", "miniature:faint", "miniature:full")
    }

    assert said["miniature"] == said["miniature:faint"] != said["miniature:full"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"document": ADA, "strength": 2.01}, "strength"),
        ({"document": ADA, "strength": -0.1}, "strength"),
        ({"document": ADA, "strength": "1"}, "strength"),
        ({"document": ADA, "strength": True}, "strength"),
        ({"documents": []}, "documents"),
        ({"documents": [ADA, 1]}, "documents.1"),
        ({"documents": ADA}, "documents"),
        ({"documents": ["a"] * 101}, "documents"),
        ({"document": ADA, "documents": [ADA]}, None),
        ({"strength": 1.0}, None),
    ],
    ids=str,
)
def test_put_of_what_is_out_of_range_is_refused_by_its_name(acme, body, field):
    response = acme.put("/v1/users/refused/adapter", json=body)

    assert (response.status_code, response.json()["error"]["param"]) == (400, field)
    assert acme.get("/v1/users/refused/adapter").status_code == 404


def test_put_of_documents_that_are_too_long_together_is_refused(acme):
    response = acme.put("/v1/users/refused/adapter", json={"documents": [letter * 150 for letter in "abc"]})

    refusal(response, 413, "document_too_long")


def test_put_with_a_blank_document_among_others_is_refused(acme):
    response = acme.put("/v1/users/refused/adapter", json={"documents": [ADA, " "]})

    refusal(response, 400, "empty_document")


def test_put_with_a_byte_order_mark_and_other_newlines_is_the_same_document(acme):
    plain, dressed = put(acme, "plain", "one\ntwo"), put(acme, "dressed", b"\xef\xbb\xbfone\r\ntwo")

    assert plain.json()["digest"] == dressed.json()["digest"]


def test_get_describes_what_put_made(acme):
    made = put(acme, "described", ADA).json()
    found = acme.get("/v1/users/described/adapter")

    assert found.status_code == 200
    assert found.json() == {
        name: value
        for name, value in made.items()
        if name not in ("timings_ms", "document_tokens", "chunks", "strength")
    }
    assert found.headers["cache-control"] == "private, no-cache"


def test_get_of_a_known_etag_is_304_without_a_body(acme):
    tag = put(acme, "cached", ADA).headers["etag"]

    for path in ("/v1/users/cached/adapter", "/v1/users/cached/adapter/content"):
        current = acme.get(path).headers["etag"]
        response = acme.get(path, headers={"If-None-Match": f'W/{current}, "other"'})
        assert (response.status_code, response.content, response.headers["etag"]) == (304, b"", current)
    assert acme.get("/v1/users/cached/adapter", headers={"If-None-Match": '"other"'}).status_code == 200
    refusal(acme.get("/v1/users/cached/adapter", headers={"If-Match": '"other"'}), 412, "precondition_failed")
    assert acme.get("/v1/users/cached/adapter", headers={"If-Match": tag}).status_code == 200


def test_put_only_if_there_is_none(acme):
    assert put(acme, "once", ADA, if_none_match="*").status_code == 201
    refusal(put(acme, "once", BRUNO, if_none_match="*"), 412, "precondition_failed")
    assert acme.get("/v1/users/once/adapter").json()["version"] == 1


def test_put_only_over_the_version_that_was_read(acme):
    first = put(acme, "raced", ADA).headers["etag"]
    second = put(acme, "raced", BRUNO, if_match=first)

    assert second.status_code == 200
    refusal(put(acme, "raced", "A third person.", if_match=first), 412, "precondition_failed")
    assert acme.get("/v1/users/raced/adapter").headers["etag"] == second.headers["etag"]
    refusal(put(acme, "nobody-yet", ADA, if_match="*"), 412, "precondition_failed")
    refusal(put(acme, "raced", ADA, if_match="unquoted"), 400, "invalid_request")


def test_content_is_a_zip_with_its_files_at_the_root_and_the_digest_of_its_safetensors(acme):
    digest = put(acme, "content", ADA).json()["digest"]
    packed = acme.get("/v1/users/content/adapter/content")
    bare = acme.get("/v1/users/content/adapter/content", params={"format": "safetensors"})

    archive = zipfile.ZipFile(io.BytesIO(packed.content))
    assert sorted(archive.namelist()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert archive.read("adapter_model.safetensors") == bare.content
    assert hashlib.sha256(bare.content).hexdigest() == digest
    assert packed.headers["content-type"] == "application/zip"
    assert packed.headers["etag"] != bare.headers["etag"]
    refusal(acme.get("/v1/users/content/adapter/content", params={"format": "pickle"}), 400, "invalid_request")


def test_versions_are_listed_and_activated(acme):
    first, second = put(acme, "versions", ADA).json(), put(acme, "versions", BRUNO).json()
    listed = acme.get("/v1/users/versions/adapter/versions").json()

    assert [(entry["version"], entry["digest"], entry["active"]) for entry in listed["versions"]] == [
        (1, first["digest"], False),
        (2, second["digest"], True),
    ]
    back = acme.post("/v1/users/versions/adapter/versions/1:activate")
    assert (back.status_code, back.json()["version"], back.json()["active"]) == (200, 1, True)
    assert acme.get("/v1/users/versions/adapter").headers["etag"] == back.headers["etag"]
    refusal(acme.post("/v1/users/versions/adapter/versions/3:activate"), 404, "version_not_found")
    refusal(acme.post("/v1/users/versions/adapter/versions/x:activate"), 404, "version_not_found")
    stale = {"If-Match": '"2-stale"'}
    refusal(acme.post("/v1/users/versions/adapter/versions/2:activate", headers=stale), 412, "precondition_failed")


def test_delete_removes_every_version(acme):
    tag = put(acme, "deleted", ADA).headers["etag"]

    refusal(acme.delete("/v1/users/deleted/adapter", headers={"If-Match": '"9-x"'}), 412, "precondition_failed")
    assert acme.delete("/v1/users/deleted/adapter", headers={"If-Match": tag}).status_code == 204
    refusal(acme.delete("/v1/users/deleted/adapter"), 404, "adapter_not_found")
    refusal(acme.get("/v1/users/deleted/adapter"), 404, "adapter_not_found")


@pytest.mark.parametrize(
    ("document", "status", "code"),
    [
        ("", 400, "empty_document"),
        (" \n\t", 400, "empty_document"),
        (b"caf\xe9", 400, "document_not_utf8"),
        (b"a\0b", 400, "document_not_utf8"),
        ("x" * 500, 413, "document_too_long"),
        ("x" * (BODY_LIMIT + 1), 413, "request_too_large"),
    ],
)
def test_put_refuses_a_document_it_cannot_read(acme, document, status, code):
    refusal(put(acme, "refused", document), status, code)

    refusal(acme.get("/v1/users/refused/adapter"), 404, "adapter_not_found")


def test_put_too_long_names_the_limit_and_the_count(acme):
    message = refusal(put(acme, "refused", "x" * 500), 413, "document_too_long")["message"]

    assert "400" in message
    assert "502" in message


def test_put_refuses_a_body_without_length_once_it_has_read_too_much(acme):
    def chunks():
        for _ in range(64):
            yield b"x" * 1024

    response = acme.put("/v1/users/chunked/adapter", content=chunks(), headers={"Content-Type": "text/plain"})

    refusal(response, 413, "request_too_large")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "invalid_request"),
        (b"[]", 400, "invalid_request"),
        (b"{}", 400, "invalid_request"),
        (b'{"document": 1}', 400, "invalid_request"),
        (b'{"document": "x", "profile": "y"}', 400, "invalid_request"),
        (b'{"document": "\\ud800"}', 400, "invalid_request"),
        (b'{"document": ""}', 400, "empty_document"),
        (b"[" * 5000, 400, "invalid_request"),
    ],
)
def test_put_refuses_json_of_another_shape(acme, body, status, code):
    refusal(
        acme.put("/v1/users/json/adapter", content=body, headers={"Content-Type": "application/json"}), status, code
    )


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain; charset=latin-1", "image/png"])
def test_put_refuses_another_kind_of_body(acme, kind):
    response = acme.put("/v1/users/kind/adapter", content=b"x", headers={"Content-Type": kind})

    refusal(response, 415, "unsupported_media_type")


@pytest.mark.parametrize("kind", [None, "text/plain;charset=UTF-8", "TEXT/Markdown"])
def test_put_reads_text_however_it_is_announced(acme, kind):
    request = acme.build_request("PUT", "/v1/users/kind/adapter", content=b"I am Kind.")
    request.headers.pop("content-type", None)
    if kind:
        request.headers["content-type"] = kind

    assert acme.send(request).status_code in (200, 201)


BAD_NAMES = ["..", "%2E%2E", "a%2Fb", "%00", "a%00b", "x" * 10_000, "%ED%A0%80", "%FF", "100%", "%20ada", "ada@3"]


@pytest.mark.parametrize("segment", BAD_NAMES, ids=lambda segment: segment[:12])
@pytest.mark.parametrize(
    ("method", "suffix"),
    [
        ("PUT", ""),
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/content"),
        ("GET", "/versions"),
        ("POST", "/versions/1:activate"),
    ],
)
def test_bad_user_name_is_refused_everywhere(running, method, suffix, segment):
    # httpx would tidy the path up; a hostile client does not.
    connection = http.client.HTTPConnection(running.url.removeprefix("http://"), timeout=60)
    headers = {"Authorization": f"Bearer {ACME}", "Content-Type": "text/plain"}
    connection.request(method, f"/v1/users/{segment}/adapter{suffix}", body=b"x", headers=headers)
    with closing(connection), connection.getresponse() as response:
        status, error = response.status, json.loads(response.read())["error"]

    assert (status, error["code"], error["param"]) == (400, "invalid_name", "user")
    assert segment == ".." or segment not in error["message"]


@pytest.mark.parametrize(
    "user", ["Ada Lovelace", "zo\u00eb", "\u5f20\u4f1f", "a:b", "a@b.org", "%2F", "CON", "tab..".strip(".")]
)
def test_any_other_user_name_comes_back_as_it_was_sent(acme, user):
    assert put(acme, quote(user, safe=""), ADA).json()["user"] == user
    assert acme.get(f"/v1/users/{quote(user, safe='')}/adapter").json()["user"] == user


def test_names_that_differ_only_by_one_decoding_are_different_users(acme):
    put(acme, "a%252Fb", ADA)

    refusal(acme.get("/v1/users/a%25252Fb/adapter"), 404, "adapter_not_found")


ROUTES = [
    ("GET", "/v1/users/private/adapter"),
    ("DELETE", "/v1/users/private/adapter"),
    ("GET", "/v1/users/private/adapter/content"),
    ("GET", "/v1/users/private/adapter/content?format=safetensors"),
    ("GET", "/v1/users/private/adapter/versions"),
    ("POST", "/v1/users/private/adapter/versions/1:activate"),
    ("CHAT", "miniature:private"),
    ("CHAT", "miniature:private@1"),
]


def call(client: httpx.Client, method: str, target: str) -> httpx.Response:
    if method != "CHAT":
        return client.request(method, target)
    body = {"model": target, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
    return client.post("/v1/chat/completions", json=body)


def without_request_id(response: httpx.Response) -> tuple[int, list[tuple[str, str]], bytes]:
    request_id = response.headers["x-request-id"]
    headers = [(name, value) for name, value in response.headers.items() if name not in ("x-request-id", "date")]
    return response.status_code, headers, response.content.replace(request_id.encode(), b"")


def foreign_and_missing(client: httpx.Client, method: str, target: str) -> tuple[object, object]:
    missing = target.replace("private", "missing")
    return without_request_id(call(client, method, target)), without_request_id(call(client, method, missing))


@pytest.mark.parametrize(("method", "target"), ROUTES)
def test_another_tenants_user_is_the_same_404_as_an_unknown_one(acme, rival, method, target):
    assert put(acme, "private", ADA).status_code in (200, 201)

    foreign, missing = foreign_and_missing(rival, method, target)

    assert foreign == missing
    assert foreign[0] == 404
    assert acme.get("/v1/users/private/adapter").status_code == 200


@pytest.mark.parametrize(("method", "target"), [route for route in ROUTES if route[0] != "DELETE"])
def test_another_tenants_user_check_catches_a_service_that_mixes_tenants(start, method, target):
    """The planted twin: every key opens the first tenant's scope."""
    from hypernet.storage import TenantScope

    def one_scope_for_all(service) -> None:
        for name in ("write", "head", "content", "versions", "activate", "chat"):
            bound = getattr(service, name)
            setattr(
                service, name, lambda scope, *args, bound=bound, **kwargs: bound(TenantScope("acme"), *args, **kwargs)
            )

    broken = start(one_scope_for_all)
    with broken.client(ACME) as owner, broken.client(RIVAL) as intruder:
        put(owner, "private", ADA)
        foreign, missing = foreign_and_missing(intruder, method, target)

    assert foreign != missing


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer wrong-key-0123456789", f"Basic {ACME}"])
def test_no_route_answers_without_a_known_key(running, authorization):
    headers = {} if authorization is None else {"Authorization": authorization}
    with running.client(None) as client:
        paths = client.get("/openapi.json").json()["paths"]
        guarded = [(method, path) for path, methods in paths.items() for method in methods if path.startswith("/v1/")]
        assert len(guarded) >= 8
        for method, path in guarded:
            response = client.request(method, path.replace("{user}", "..%2F"), headers=headers)
            refusal(response, 401, "authentication_failed")
            assert response.headers["www-authenticate"] == "Bearer"
