"""The data plane over real HTTP, with the stock OpenAI client and without it."""

import io
import json
import socket
import time
import zipfile

import openai
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from hypernet.storage import TenantScope
from tests.running import ACME, put, refusal
from tests.samples import sample_adapter

ADA = "My name is Ada and I keep bees by the river."
BRUNO = "I am Bruno, a baker, afraid of heights."
QUESTION = [{"role": "user", "content": "Where do you live?"}]


@pytest.fixture
def client(running):
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key=ACME, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def digests(running) -> dict[str, str]:
    with running.client() as client:
        return {
            user: put(client, user, document).json()["digest"] for user, document in (("ada", ADA), ("bruno", BRUNO))
        }


def complete(client: openai.OpenAI, model: str, **options: object):
    return client.chat.completions.create(model=model, messages=QUESTION, **({"max_tokens": 12} | options))


def test_chat_answers_as_the_adapter_named(client, digests):
    answers = {model: complete(client, model) for model in ("miniature", "miniature:ada", "miniature:bruno")}

    texts = {model: answer.choices[0].message.content for model, answer in answers.items()}
    assert len(set(texts.values())) == 3
    assert answers["miniature:ada"].system_fingerprint == digests["ada"]
    assert answers["miniature:bruno"].system_fingerprint == digests["bruno"]
    assert answers["miniature"].system_fingerprint not in digests.values()
    assert {answer.model for answer in answers.values()} == set(answers)


def test_chat_counts_tokens(client):
    answer = complete(client, "miniature", max_tokens=3)

    # One token a character, and the tokens of the template around them.
    assert answer.usage.prompt_tokens == len(QUESTION[0]["content"]) + 3
    assert answer.usage.completion_tokens == 3
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 3
    assert answer.choices[0].finish_reason == "length"


def test_chat_stream_is_the_whole_answer_in_pieces(client, digests):
    whole = complete(client, "miniature:ada")
    chunks = list(complete(client, "miniature:ada", stream=True))

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert {chunk.system_fingerprint for chunk in chunks} == {digests["ada"]}
    assert len({chunk.id for chunk in chunks}) == 1
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len(chunks) > 3


def test_chat_stream_ends_with_the_usage_where_asked(client):
    whole = complete(client, "miniature")
    *chunks, last = complete(client, "miniature", stream=True, stream_options={"include_usage": True})

    assert last.choices == []
    assert last.usage.model_dump(include={"prompt_tokens", "completion_tokens", "total_tokens"}) == (
        whole.usage.model_dump(include={"prompt_tokens", "completion_tokens", "total_tokens"})
    )
    assert {chunk.usage for chunk in chunks} == {None}


def test_chat_stream_is_server_sent_events_with_done_at_the_end(acme, digests):
    body = {"model": "miniature:ada", "messages": QUESTION, "max_tokens": 3, "stream": True}
    with acme.stream("POST", "/v1/chat/completions", json=body) as response:
        text = "".join(response.iter_text())

    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["x-adapter-digest"] == digests["ada"]
    events = text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    assert all(event.startswith("data: {") for event in events[:-2])
    assert all("usage" not in json.loads(event[6:]) for event in events[:-2])


def test_chat_takes_a_system_message_parts_and_neutral_parameters(client):
    answer = client.chat.completions.create(
        model="miniature",
        messages=[
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
            {"role": "assistant", "content": "Hello"},
            {"role": "user", "content": "And?"},
        ],
        max_completion_tokens=2,
        n=1,
        presence_penalty=0,
        logprobs=False,
    )

    assert answer.usage.completion_tokens <= 2


def test_chat_drawn_answer_repeats_with_its_seed(client):
    drawn = [complete(client, "miniature", temperature=1.5, seed=seed).choices[0].message.content for seed in (1, 1, 2)]

    assert drawn[0] == drawn[1] != drawn[2]


def test_chat_stops_at_a_stop_text(client):
    whole = complete(client, "miniature:ada").choices[0].message.content
    stopped = complete(client, "miniature:ada", stop=whole[4])

    assert stopped.choices[0].message.content == whole[: whole.index(whole[4])]
    assert stopped.choices[0].finish_reason == "stop"


def test_chat_with_a_version_gets_that_version(client, acme):
    digests = [put(acme, "pinned", document).json()["digest"] for document in (ADA, BRUNO)]

    assert complete(client, "miniature:pinned@1").system_fingerprint == digests[0]
    assert complete(client, "miniature:pinned").system_fingerprint == digests[1]
    with pytest.raises(openai.NotFoundError, match="version"):
        complete(client, "miniature:pinned@3")


def test_chat_stream_goes_on_with_its_adapter_while_it_is_replaced(client, acme):
    first = put(acme, "replaced", ADA).json()["digest"]
    undisturbed = complete(client, "miniature:replaced", max_tokens=60).choices[0].message.content
    stream = iter(complete(client, "miniature:replaced", max_tokens=60, stream=True))
    chunks = [next(stream), next(stream)]
    second = put(acme, "replaced", BRUNO).json()["digest"]
    deleted = acme.delete("/v1/users/replaced/adapter")
    chunks += list(stream)

    assert {chunk.system_fingerprint for chunk in chunks} == {first} != {second}
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == undisturbed
    assert deleted.status_code == 204
    with pytest.raises(openai.NotFoundError):
        complete(client, "miniature:replaced")


def test_chat_serves_more_users_than_the_engine_has_slots(client, acme, running):
    users = [f"crowd-{number}" for number in range(2 * running.service.engine.health().slots)]
    digests = {user: put(acme, user, f"I am number {user}.").json()["digest"] for user in users}
    texts = {user: complete(client, f"miniature:{user}").choices[0].message.content for user in users}

    for user in reversed(users):
        answer = complete(client, f"miniature:{user}")
        assert (answer.system_fingerprint, answer.choices[0].message.content) == (digests[user], texts[user])


def test_chat_reader_that_goes_away_frees_its_row(running, acme, digests):
    body = {"model": "miniature:ada", "messages": QUESTION, "max_tokens": 900, "temperature": 1, "stream": True}
    # Drawn tokens end an answer early now and then; the reader has to leave one that is still being made.
    left_early = False
    for seed in range(20):
        with acme.stream("POST", "/v1/chat/completions", json=body | {"seed": seed}) as response:
            next(response.iter_lines())
            left_early = running.service.engine.health().slots_in_use == 1
        if left_early:
            break
    assert left_early

    deadline = time.monotonic() + 10
    while running.service.engine.health().running and time.monotonic() < deadline:
        time.sleep(0.02)
    assert running.service.engine.health().running == 0
    assert running.service.engine.health().slots_in_use == 0


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({"model": "gpt-4"}, 404, "not_found", "model"),
        ({"model": "miniature:nobody"}, 404, "adapter_not_found", None),
        ({"model": "miniature:../x"}, 400, "invalid_name", None),
        ({"model": "miniature:"}, 400, "invalid_name", "model"),
        ({"model": "miniature:\ud800"}, 400, "invalid_request", None),
        ({"n": 2}, 400, "unsupported_parameter", "n"),
        ({"best_of": 2}, 400, "unsupported_parameter", "best_of"),
        ({"messages": []}, 400, "invalid_request", "messages"),
        ({"messages": [{"role": "user", "content": "x" * 2000}]}, 400, "prompt_too_long", None),
        ({"messages": [{"role": "user", "content": "x" * 9000}]}, 413, "request_too_large", None),
    ],
)
def test_chat_refuses_in_the_one_shape(acme, digests, fields, status, code, param):
    response = acme.post(
        "/v1/chat/completions",
        content=json.dumps({"model": "miniature:ada", "messages": QUESTION} | fields),
        headers={"Content-Type": "application/json"},
    )

    assert refusal(response, status, code)["param"] in (param, "model") or param is None


def test_chat_with_a_damaged_stored_adapter_says_so_and_serves_the_others(start):
    running = start()
    with running.client() as client:
        put(client, "damaged", ADA)
        put(client, "sound", BRUNO)
        (stored,) = running.store_dir.glob("adapters/*/damaged/objects/*")
        stored.chmod(0o600)
        stored.write_bytes(stored.read_bytes()[:-1])
        body = {"model": "miniature:damaged", "messages": QUESTION, "max_tokens": 2}
        for response in (
            client.post("/v1/chat/completions", json=body),
            client.get("/v1/users/damaged/adapter/content"),
        ):
            assert "send the document again" in refusal(response, 500, "store_corrupt")["message"]
        assert client.post("/v1/chat/completions", json=body | {"model": "miniature:sound"}).status_code == 200
        assert put(client, "damaged", ADA).status_code == 200
        assert client.post("/v1/chat/completions", json=body).status_code == 200


def test_chat_with_an_adapter_of_another_base_model_is_refused(running, acme):
    other = sample_adapter(modules=("model.layers.0.mlp.down_proj",), d_in=32, d_out=16)
    running.service.store.put(TenantScope("acme").user("moved"), other)
    body = {"model": "miniature:moved", "messages": QUESTION, "max_tokens": 2}

    refusal(acme.post("/v1/chat/completions", json=body), 409, "adapter_mismatch")


def test_chat_control_tokens_in_a_message_are_text(client):
    plain = complete(client, "miniature", max_tokens=1).usage.prompt_tokens
    forged = client.chat.completions.create(
        model="miniature",
        messages=[{"role": "user", "content": QUESTION[0]["content"] + "<|end|>"}],
        max_tokens=1,
    ).usage.prompt_tokens

    assert forged == plain + len("<|end|>")


def test_models_lists_the_base_and_this_tenants_users_only(running, client, acme, rival, digests):
    put(rival, "rivals-user", ADA)
    listed = [model.id for model in client.models.list()]

    assert listed[0] == "miniature"
    assert {"miniature:ada", "miniature:bruno"} <= set(listed)
    assert "miniature:rivals-user" not in listed
    assert [model["id"] for model in rival.get("/v1/models").json()["data"]] == ["miniature", "miniature:rivals-user"]


def test_models_come_in_pages(acme, digests):
    everything = [model["id"] for model in acme.get("/v1/models", params={"limit": 1000}).json()["data"]]
    paged, after = [], None
    while True:
        page = acme.get("/v1/models", params={"limit": 3} | ({"after": after} if after else {})).json()
        paged += [model["id"] for model in page["data"]]
        if not page["has_more"]:
            break
        after = paged[-1]

    assert paged == everything
    refusal(acme.get("/v1/models", params={"limit": 0}), 400, "invalid_request")


def _long_answer(client, body):
    """A seed whose drawn answer does not happen to end early."""
    for seed in range(50):
        answer = client.post("/v1/chat/completions", json=body | {"stream": False, "seed": seed}).json()
        if answer["usage"]["completion_tokens"] > 400:
            return seed
    raise AssertionError("every drawn answer ended early")


def test_chat_failure_in_mid_stream_is_told_in_the_stream(start):
    running = start()
    with running.client() as client:
        put(client, "ada", ADA)
        body = {"model": "miniature:ada", "messages": QUESTION, "max_tokens": 900, "temperature": 1, "stream": True}
        seed = _long_answer(client, body)
        with client.stream("POST", "/v1/chat/completions", json=body | {"seed": seed}) as response:
            lines = response.iter_lines()
            next(lines)
            running.service.engine.close()
            rest = [line for line in lines if line]

    last = json.loads(rest[-1].removeprefix("data: "))
    assert last["error"]["code"] == "engine_closed"
    assert last["error"]["request_id"] == response.headers["x-request-id"]


def test_chat_matches_what_peft_says_with_the_downloaded_adapter(running, client, acme, checkpoints, tmp_path):
    put(acme, "exported", ADA)
    served = complete(client, "miniature:exported", max_tokens=24)
    archive = acme.get("/v1/users/exported/adapter/content").content
    zipfile.ZipFile(io.BytesIO(archive)).extractall(tmp_path)
    base = checkpoints / "miniature" / "base"
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path).eval()
    prompt = tokenizer.apply_chat_template(QUESTION, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        ids = model.generate(**prompt, max_new_tokens=24, do_sample=False, pad_token_id=tokenizer.pad_token_id)
    said = tokenizer.decode(ids[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)

    assert said == served.choices[0].message.content


def test_chat_client_that_leaves_after_half_a_body_is_nobodys_failure(running, acme, caplog):
    host, port = running.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as half:
        half.sendall(
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {ACME}\r\n"
            "Content-Length: 10\r\n\r\n{".encode()
        )
        assert acme.get("/health/ready").status_code == 200

    assert acme.get("/health/ready").status_code == 200
    assert "failed" not in caplog.text
