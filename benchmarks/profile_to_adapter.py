"""How long a profile takes to become a stored adapter, by stage: in Python, and over REST against the real service."""

import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator

import httpx

from benchmarks.measures import Measure, p50_and_p95
from benchmarks.profiles import profile
from examples.demo import running_service
from hypernet.generators import Generator
from hypernet.storage import AdapterStore, TenantScope
from hypernet.storage.key_provider import HeldKeys
from hypernet.storage.sealing import new_key

PYTHON_BAR_MS = 100
REST_BAR_MS = 250
WARM_UP = 5


def through_python(generator: Generator, *, tokens: int, repeats: int) -> Iterator[Measure]:
    """`Generator.generate` and a durable `AdapterStore.put` into a directory, one profile after another."""
    times = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        store, scope = AdapterStore.in_directory(folder, provider=HeldKeys([new_key()])), TenantScope("bench")
        for number in range(WARM_UP + repeats):
            text = profile(generator, number, tokens=tokens)
            start = time.perf_counter()
            generation = generator.generate(text)
            generated = time.perf_counter()
            store.put(scope.user(f"user-{number}"), generation.adapter)
            stored = time.perf_counter()
            if number >= WARM_UP:
                times["encode"].append(generation.timings.encode_ms)
                times["generate"].append(generation.timings.generate_ms)
                times["serialise"].append(generation.timings.serialise_ms)
                times["store"].append((stored - generated) * 1e3)
                times["profile_to_adapter"].append((generated - start) * 1e3)
        store.close()
    for stage, values in times.items():
        bar = PYTHON_BAR_MS if stage == "profile_to_adapter" else None
        yield from p50_and_p95(f"python.{stage}", values, bar=bar)


def through_rest(generator: Generator, *, tokens: int, repeats: int) -> Iterator[Measure]:
    """`PUT /v1/users/{user}/adapter` on a service of its own, with the durable write; and the first token after it."""
    times = defaultdict(list)
    with (
        running_service() as (url, model, key),
        httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as client,
    ):
        for number in range(WARM_UP + repeats):
            text = profile(generator, number, tokens=tokens)
            start = time.perf_counter()
            response = client.put(
                f"/v1/users/user-{number}/adapter", content=text.encode(), headers={"Content-Type": "text/plain"}
            )
            written = time.perf_counter()
            response.raise_for_status()
            first_token_s = _first_token(client, f"{model}:user-{number}") - written
            if number >= WARM_UP:
                for stage, value in response.json()["timings_ms"].items():
                    times[stage].append(value)
                times["put"].append((written - start) * 1e3)
                times["request_to_first_token"].append(first_token_s * 1e3)
                times["put_to_first_token"].append((written - start + first_token_s) * 1e3)
    for stage, values in times.items():
        yield from p50_and_p95(f"rest.{stage}", values, bar=REST_BAR_MS if stage == "put" else None)


def _first_token(client: httpx.Client, model: str) -> float:
    body = {"model": model, "messages": [{"role": "user", "content": "Where do you live?"}], "stream": True}
    with client.stream("POST", "/v1/chat/completions", json=body | {"max_tokens": 8}) as events:
        for line in events.iter_lines():
            if '"content":"' in line and '"content":""' not in line:
                break
        return time.perf_counter()
