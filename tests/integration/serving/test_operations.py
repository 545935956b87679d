"""Health, documentation, request ids, and what becomes of failures nobody foresaw."""

import logging

import pytest
from ray import serve

from hypernet.errors import StoreUnavailable
from hypernet.settings import read_settings
from serving.deployment import build
from serving.keys import KeyRing
from tests.miniature import NAME
from tests.running import TENANTS, put, refusal

SECRET = "the-document-says-zanzibar"


def test_health_is_open_to_all(running):
    with running.client(None) as client:
        assert client.get("/health/live").json() == {"status": "ok"}
        assert client.get("/health/ready").json() == {"status": "ok"}


def test_ready_says_what_is_wrong_and_live_goes_on(start):
    running = start()
    running.service.engine.close()
    with running.client() as client:
        response = client.get("/health/ready")
        refusal(response, 503, "engine_closed")
        assert response.headers["retry-after"] == "1"
        assert client.get("/health/live").status_code == 200
        refusal(put(client, "ada", "I am Ada."), 503, "engine_closed")


def test_store_that_is_gone_is_a_503_that_says_nothing_of_it(start, monkeypatch):
    running = start()

    def fail(*args: object, **kwargs: object) -> None:
        raise StoreUnavailable(f"/srv/{SECRET} is not there.")

    for name in ("head", "get", "put", "check", "users"):
        monkeypatch.setattr(running.service.store, name, fail)
    with running.client() as client:
        for response in (
            put(client, "ada", "I am Ada."),
            client.get("/v1/users/ada/adapter"),
            client.get("/v1/models"),
            client.get("/health/ready"),
        ):
            assert SECRET not in refusal(response, 503, "store_unavailable")["message"]


def test_unforeseen_failure_is_a_500_with_nothing_of_it_in_answer_or_log(start, monkeypatch, caplog):
    running = start()

    def explode(*args: object, **kwargs: object) -> None:
        raise RuntimeError(SECRET) from ValueError(SECRET)

    monkeypatch.setattr(running.service.store, "head", explode)
    with running.client() as client, caplog.at_level(logging.INFO):
        response = client.get("/v1/users/ada/adapter")

    error = refusal(response, 500, "internal_error")
    assert (error["type"], SECRET in response.text) == ("server_error", False)
    assert f"request {error['request_id']} failed: RuntimeError from ValueError" in caplog.text
    assert "in head" in caplog.text
    assert SECRET not in caplog.text


def test_log_never_holds_documents_keys_or_users(start, caplog):
    running = start()
    with (
        running.client() as client,
        caplog.at_level(logging.DEBUG, logger="serving"),
        caplog.at_level(logging.DEBUG, logger="hypernet"),
    ):
        put(client, "user-zanzibar", SECRET)
        put(client, "user-zanzibar", SECRET + "\0")
        client.get("/v1/users/unknown-zanzibar/adapter")
        running.service.engine.close()
        put(client, "user-zanzibar", SECRET)

    ours = [record.getMessage() for record in caplog.records if record.name.startswith(("serving", "hypernet"))]
    assert ours
    assert not [line for line in ours if "zanzibar" in line or "key-of" in line]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "route_not_found"),
        ("GET", "/v1/users/ada/adapter/", 404, "route_not_found"),
        ("GET", "/v1/users/ada%2Fadapter", 404, "route_not_found"),
        ("PATCH", "/v1/users/ada/adapter", 405, "method_not_allowed"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
    ],
)
def test_routes_that_are_not_there_answer_in_the_one_shape(acme, method, path, status, code):
    response = acme.request(method, path)

    refusal(response, status, code)
    assert status != 405 or response.headers["allow"]


def test_request_id_is_kept_where_it_is_well_formed(acme):
    assert acme.get("/health/live", headers={"X-Request-Id": "my-id.1"}).headers["x-request-id"] == "my-id.1"
    assert acme.get("/health/live", headers={"X-Request-Id": "no good"}).headers["x-request-id"] != "no good"
    assert acme.get("/nowhere").headers["x-request-id"]


def test_docs_page_describes_every_operation_without_a_script(acme):
    paths = acme.get("/openapi.json").json()["paths"]
    page = acme.get("/docs")

    assert page.headers["content-type"].startswith("text/html")
    assert all(path in page.text for path in paths)
    assert "<script" not in page.text
    assert "//cdn" not in page.text
    assert acme.get("/", follow_redirects=False).headers["location"] == "/docs"


def test_openapi_resolves_every_reference_and_documents_every_refusal(acme):
    document = acme.get("/openapi.json").json()

    def references(node: object) -> set[str]:
        if isinstance(node, dict):
            own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
            return own.union(*(references(value) for value in node.values()))
        return set().union(*(references(value) for value in node)) if isinstance(node, list) else set()

    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references(document) <= known
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert not path.startswith("/v1/") or {"400", "401"} <= set(operation["responses"])
            assert operation["summary"]


def test_ray_serve_builds_the_application_and_drains_it(checkpoints, tmp_path):
    settings = read_settings(checkpoint=NAME, checkpoints=checkpoints, store_dir=tmp_path, threads=1)

    handle = serve.run(
        build(settings, keys=KeyRing.from_keys(TENANTS), report_to=tmp_path), _local_testing_mode=True, name="local"
    )

    assert handle.check_health.remote().result() is None
    assert handle.drain.remote(1.0).result() == 0
