"""What a store in a bucket costs beside the bare `minio` client on the same server: many threads, in turns.

`python -m benchmarks.stored_adapters` starts a server of its own for it (Ceph's object gateway, all in memory), or uses
the one that `HYPERNET_TEST_S3_URL` names. Cold is a store that keeps no adapter in memory, warm one that does, as the
service's does by default; both ask for the pointer every time. The client and the server share this machine's cores, so
the ratios say how much work each route is, not how long a user waits.
"""

import argparse
import io
import os
import random
import shutil
import tempfile
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from unittest import mock
from uuid import uuid4

import torch
import urllib3
from minio import Minio

from benchmarks.measures import Measure, percentile, show
from hypernet.adapters import Adapter, LoraPair, Provenance
from hypernet.storage import AdapterStore, TenantScope
from hypernet.storage.directory import DirectoryObjects
from hypernet.storage.key_provider import HeldKeys
from hypernet.storage.memory import MemoryObjects
from hypernet.storage.s3 import S3Objects, Server
from hypernet.storage.sealing import new_key, seal, unseal
from tests.s3_server import running_server

THREADS = 64
PUT_BAR, GET_BAR = 1.5, 1.15
SEALING_BAR_MS = 30.0
CACHE_BYTES = 64 << 20
SIZES = {"100KB": 100_000, "10MB": 10_000_000}
_SCOPE = TenantScope("bench")
_PAGE = 1000
"""Of users in a listing, as large as servers have them; a directory is gone through once for each."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """One way to keep adapters: ours, or the bare client's."""

    put: Callable[[int, int], object]
    """Writes sample number so for user number so."""
    get: Callable[[int], object]
    """Reads the user's."""


def adapter_of(size_bytes: int, seed: int) -> Adapter:
    """A sound adapter of about that size."""
    rank, width = 8, 1024
    count = max(1, size_bytes // (2 * rank * width * 4))
    width = size_bytes // (count * 2 * rank * 4)
    generator = torch.Generator().manual_seed(seed)
    return Adapter(
        modules={
            f"model.layers.{layer}.mlp.down_proj": LoraPair(
                a=torch.randn(rank, width, generator=generator) / 32, b=torch.randn(width, rank, generator=generator)
            )
            for layer in range(count)
        },
        rank=rank,
        scaling=1.0,
        provenance=Provenance(
            base_model="bench",
            base_model_digest="b" * 64,
            hypernetwork="bench",
            hypernetwork_digest="c" * 64,
            document_digest=f"{seed:064x}",
            options={},
        ),
    )


def bare(server: Server, samples: Sequence[Adapter]) -> Route:
    """The `minio` client as its documentation uses it, with as many connections as there are threads."""
    client = Minio(
        server.endpoint,
        access_key=server.access_key,
        secret_key=server.secret_key.get_secret_value(),
        secure=server.secure,
        region="us-east-1",
        http_client=urllib3.PoolManager(maxsize=THREADS, retries=False),
    )
    contents = [sample.canonical_bytes() for sample in samples]

    def put(user: int, sample: int) -> None:
        client.put_object(server.bucket, f"{server.prefix}bare/{user}", io.BytesIO(contents[sample]), len(contents[0]))

    def get(user: int) -> None:
        response = client.get_object(server.bucket, f"{server.prefix}bare/{user}")
        try:
            response.read()
        finally:
            response.release_conn()

    return Route(put=put, get=get)


def ours(store: AdapterStore, samples: Sequence[Adapter]) -> Route:
    """The store: sealed, versioned, committed by compare-and-set, recorded; read with digest and seal checked."""
    return Route(
        put=lambda user, sample: store.put(_SCOPE.user(f"user-{user}"), samples[sample]),
        get=lambda user: store.get(_SCOPE.user(f"user-{user}")),
    )


def mixed(route: Route, *, users: int, operations: int, samples: int, seed: int) -> dict[str, list[float]]:
    """Latencies in milliseconds of as many puts as gets, drawn at random, from many threads at once."""
    draw = random.Random(seed)
    # A put of the sample that is stored already would write nothing, so that each comes after another.
    latest: dict[int, int] = {}
    plan = []
    for _ in range(operations):
        user = draw.randrange(users)
        if draw.random() < 0.5:
            latest[user] = (latest.get(user, 0) + 1) % samples
            plan.append(("put", user, latest[user]))
        else:
            plan.append(("get", user, 0))

    def run(entry: tuple[str, int, int]) -> tuple[str, float]:
        kind, user, sample = entry
        start = time.perf_counter()
        route.put(user, sample) if kind == "put" else route.get(user)
        return kind, (time.perf_counter() - start) * 1e3

    found = defaultdict(list)
    with ThreadPoolExecutor(THREADS) as pool:
        for kind, elapsed in pool.map(run, plan):
            found[kind].append(elapsed)
    return found


def against_the_bare_client(
    server: Server, *, size: str, label: str, rounds: int, operations: int, cache_bytes: int, users: int
) -> Iterator[Measure]:
    """p50 and p99 of put and get at one size for both routes, their ratios, and that of the mean of all operations."""
    samples = [adapter_of(SIZES[size], seed) for seed in range(4)]
    objects, keys = (S3Objects(replace(server, prefix=f"{uuid4().hex}/", timeout_s=120.0)) for _ in range(2))
    with closing(
        AdapterStore(objects=objects, keys=keys, provider=HeldKeys([new_key()]), cache_bytes=cache_bytes)
    ) as store:
        routes = {"store": ours(store, samples), "bare": bare(server, samples)}
        for route in routes.values():
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(lambda user, route=route: route.put(user, 0), range(users)))
        times: dict[tuple[str, str], list[float]] = defaultdict(list)
        for round_ in range(rounds):
            for name in sorted(routes, reverse=bool(round_ % 2)):
                found = mixed(routes[name], users=users, operations=operations, samples=len(samples), seed=round_)
                for kind, values in found.items():
                    times[name, kind] += values
        for kind, bar in (("put", PUT_BAR), ("get", GET_BAR)):
            for mark, share in (("p50", 0.5), ("p99", 0.99)):
                one, other = (percentile(times[name, kind], share) for name in ("store", "bare"))
                yield Measure(name=f"store.{size}.{label}.{kind}.{mark}", value=one, unit="ms")
                yield Measure(name=f"bare.{size}.{label}.{kind}.{mark}", value=other, unit="ms")
                yield Measure(name=f"ratio.{size}.{label}.{kind}.{mark}", value=one / other, unit="x", bar=bar)
        # Who is quick at one kind of operation may owe it to being slow at the other; not so this one.
        one, other = (fmean(times[name, "put"] + times[name, "get"]) for name in ("store", "bare"))
        yield Measure(name=f"ratio.{size}.{label}.all.mean", value=one / other, unit="x")


def sealing(*, repeats: int = 20) -> Iterator[Measure]:
    """What encryption adds to an adapter of 10 MB."""
    data, key, place = adapter_of(SIZES["10MB"], 0).canonical_bytes(), new_key(), ("bench",)
    sealed = seal(data, key=key, place=place)
    for name, call in (
        ("seal", lambda: seal(data, key=key, place=place)),
        ("unseal", lambda: unseal(sealed, key=key, place=place)),
    ):
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            call()
            times.append((time.perf_counter() - start) * 1e3)
        yield Measure(name=f"sealing.10MB.{name}.p50", value=percentile(times, 0.5), unit="ms", bar=SEALING_BAR_MS)


def listing(*, users: int, page: int = _PAGE) -> Iterator[Measure]:
    """What paging through a tenant's users needs beside the store: the most for two pages (the caller has
    one while the next is read) and for all.
    """
    with tempfile.TemporaryDirectory() as folder:
        objects, keys = DirectoryObjects(Path(folder) / "adapters"), MemoryObjects()
        provider, sample = HeldKeys([new_key()]), adapter_of(1_000, 0)
        writer = AdapterStore(objects=objects, keys=keys, provider=provider)
        with mock.patch.object(os, "fsync"), ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda user: writer.put(_SCOPE.user(f"user-{user}"), sample), range(users)))
        # Another one, which has nothing of them in memory yet.
        with closing(AdapterStore(objects=objects, keys=keys, provider=provider)) as store:
            after, found, peaks = None, 0, {}
            tracemalloc.start()
            while names := store.users(_SCOPE, after=after, limit=page):
                after, found = names[-1], found + len(names)
                peaks["two pages" if found <= 2 * page else "all"] = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    if found != users:
        raise RuntimeError(f"{found} of {users} users were listed")
    for label, peak in peaks.items():
        yield Measure(name=f"listing.{users}.peak of {label}", value=peak / 1e6, unit="MB")
    yield Measure(name=f"listing.{users}.ratio", value=peaks["all"] / peaks["two pages"], unit="x", bar=1.5)


def server_is_at_hand() -> bool:
    """Whether there is one to measure on."""
    return bool(os.environ.get("HYPERNET_TEST_S3_URL")) or shutil.which("radosgw") is not None


def measured(
    *, rounds: int, operations: int, sizes: Sequence[str] = tuple(SIZES), listed: int = 0
) -> Iterator[Measure]:
    """Everything, each mix on a server of its own."""
    yield from sealing()
    if listed:
        yield from listing(users=listed)
    # What is written stays in the server's memory, and what was written over for two hours more.
    os.environ.setdefault("S3_UP_BYTES", str(8 << 30))
    for size in sizes:
        many = operations if size == "100KB" else max(64, operations // 8)
        for label, cache_bytes in (("cold", 0), ("warm", CACHE_BYTES)):
            with tempfile.TemporaryDirectory() as folder, running_server(Path(folder)) as server:
                with closing(S3Objects(server)) as bucket:
                    bucket.make_bucket()
                yield from against_the_bare_client(
                    server,
                    size=size,
                    label=label,
                    rounds=rounds,
                    operations=many,
                    cache_bytes=cache_bytes,
                    # Many more than threads, so that writers of one user seldom meet: the bare client would not notice.
                    users=THREADS if size == "10MB" else 10 * THREADS,
                )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stored_adapters", description=__doc__)
    parser.add_argument("--rounds", type=int, default=4, help="blocks of each route, in turns (default: 4)")
    parser.add_argument("--operations", type=int, default=800, help="operations in a block (default: 800)")
    parser.add_argument("--size", choices=SIZES, action="append", help="only adapters of this size")
    parser.add_argument("--listed", type=int, default=0, help="also list so many users (default: none)")
    options = parser.parse_args()
    torch.set_num_threads(1)  # there are threads enough
    show(
        measured(
            rounds=options.rounds,
            operations=options.operations,
            sizes=options.size or list(SIZES),
            listed=options.listed,
        )
    )


if __name__ == "__main__":
    main()
