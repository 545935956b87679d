"""Erasing a user over real HTTP: refused, drained, out of the engine, gone, with a receipt."""

import json
import threading
import time

import openai
import pytest

from hypernet.storage import TenantScope
from hypernet.storage.receipts import Receipt
from serving import service as service_module
from tests.running import ACME, RIVAL, put, refusal

ADA = "My name is Ada and I keep bees by the river."


def stream_of(running, user: str, *, max_tokens: int = 60):
    client = openai.OpenAI(base_url=f"{running.url}/v1", api_key=ACME, max_retries=0)
    question = [{"role": "user", "content": "Where do you live?"}]
    return iter(
        client.chat.completions.create(model=f"miniature:{user}", messages=question, max_tokens=max_tokens, stream=True)
    )


def test_erase_gives_a_receipt_that_checks_and_gives_it_again(acme, running):
    put(acme, "erased", ADA)
    put(acme, "erased", ADA + " And wasps.")
    answered = acme.post("/v1/users/erased:erase")

    assert answered.status_code == 200
    receipt = Receipt.from_bytes(answered.content)
    store, scope = running.service.store, TenantScope("acme")
    assert receipt.problems(public_key=store.audit_key(scope), log=store.audit_lines(scope)) == []
    assert answered.json()["line"]["objects"] == 2
    refusal(acme.get("/v1/users/erased/adapter"), 404, "adapter_not_found")
    refusal(acme.delete("/v1/users/erased/adapter"), 404, "adapter_not_found")
    assert acme.post("/v1/users/erased:erase").json() == answered.json()
    assert "erased" not in json.dumps(acme.get("/v1/models").json())


def test_erase_keeps_to_conditions_and_tenants(acme, running):
    tag = put(acme, "guarded", ADA).headers["etag"]
    refusal(acme.post("/v1/users/guarded:erase", headers={"If-Match": '"9-x"'}), 412, "precondition_failed")
    with running.client(RIVAL) as rival:
        refusal(rival.post("/v1/users/guarded:erase"), 404, "adapter_not_found")
    with running.client(None) as nobody:
        refusal(nobody.post("/v1/users/guarded:erase"), 401, "authentication_failed")
    assert acme.get("/v1/users/guarded/adapter").status_code == 200
    assert acme.post("/v1/users/guarded:erase", headers={"If-Match": tag}).status_code == 200
    with running.client(RIVAL) as rival:  # nor is a receipt anybody else's
        refusal(rival.post("/v1/users/guarded:erase"), 404, "adapter_not_found")
    refusal(acme.post("/v1/users/nobody:erase"), 404, "adapter_not_found")
    refusal(acme.post("/v1/users/a%2Fb:erase"), 400, "invalid_name")


def test_erase_waits_for_answers_in_progress_and_takes_the_adapter_out_of_the_engine(acme, running):
    digest = put(acme, "drained", ADA).json()["digest"]
    stream = stream_of(running, "drained")
    first = next(stream)
    assert digest in running.service.engine.resident()

    answers = []
    erasing = threading.Thread(target=lambda: answers.append(acme.post("/v1/users/drained:erase")))
    erasing.start()
    rest = list(stream)
    erasing.join(30)

    assert {chunk.system_fingerprint for chunk in [first, *rest]} == {digest}
    assert rest[-1].choices[0].finish_reason is not None
    assert answers[0].status_code == 200
    assert digest not in running.service.engine.resident()
    with pytest.raises(openai.NotFoundError):
        next(stream_of(running, "drained"))


def test_erase_cuts_an_answer_that_goes_on_for_too_long(acme, running, monkeypatch):
    monkeypatch.setattr(service_module, "_DRAIN_S", 0.0)
    put(acme, "cut", ADA)
    step = running.service.engine._step

    def slowly() -> None:
        time.sleep(0.05)
        step()

    monkeypatch.setattr(running.service.engine, "_step", slowly)
    stream = stream_of(running, "cut")
    next(stream)
    assert acme.post("/v1/users/cut:erase").status_code == 200
    with pytest.raises(openai.APIError, match="No such adapter"):
        list(stream)


def test_delete_takes_the_adapter_out_of_the_engine(acme, running):
    digest = put(acme, "dropped", ADA + " Dropped.").json()["digest"]
    list(stream_of(running, "dropped", max_tokens=2))
    assert digest in running.service.engine.resident()
    acme.delete("/v1/users/dropped/adapter")
    assert digest not in running.service.engine.resident()


def test_adapter_that_another_process_erased_leaves_the_engine_at_the_next_look(acme, running):
    kept = put(acme, "kept", ADA + " Kept.").json()["digest"]
    gone = put(acme, "gone", ADA + " Gone.").json()["digest"]
    for user in ("kept", "gone"):
        list(stream_of(running, user, max_tokens=2))
    running.service.store.erase(TenantScope("acme").user("gone"))  # nobody tells the service
    assert gone in running.service.engine.resident()
    assert running.service._residents.look_through() == 1
    resident = running.service.engine.resident()
    assert gone not in resident
    assert kept in resident
