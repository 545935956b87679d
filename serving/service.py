"""What the service does, without HTTP: documents into stored adapters, conversations into answers."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, ParamSpec, Self, TypeVar

from hypernet import checkpoints
from hypernet.documents import Document
from hypernet.engines import CompletionRequest, CompletionStream, Delta, Engine, InProcessEngine, Lease, Sampling
from hypernet.errors import AdapterNotFound, EngineClosed, NotFound, NotResident, StoreCorrupt
from hypernet.generators import Generation, Generator
from hypernet.hypernetworks import import_architectures
from hypernet.settings import Settings, usable_cores
from hypernet.storage import AdapterStore, StoredAdapter, TenantScope, UserKey
from hypernet.storage.erasure import Drain
from hypernet.storage.opening import open_store
from hypernet.storage.receipts import Receipt
from serving.chat_schema import ChatRequest
from serving.model_ids import ModelId, parse_model_id
from serving.preconditions import Preconditions, entity_tag
from serving.residents import Residents

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

# Store calls wait for disks, not for cores.
_STORE_THREADS = 8
_ERASE_THREADS = 8
# How long an erasure waits for answers that are being made.
_DRAIN_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Written:
    """A stored adapter and what it took; times in milliseconds."""

    stored: StoredAdapter
    created: bool
    """Whether the user had none before."""
    generation: Generation
    store_ms: float
    total_ms: float


class Answer:
    """One answer in the making, its adapter pinned until `close`."""

    def __init__(
        self,
        *,
        model: str,
        fingerprint: str,
        adapter: str | None,
        stream: CompletionStream,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        self.id = "chatcmpl-" + uuid.uuid4().hex
        self.created = int(time.time())
        self.model = model
        self.adapter = adapter
        self.fingerprint = fingerprint
        self._stream = stream
        self._on_close = on_close
        self._first: Delta | None = None

    @property
    def prompt_tokens(self) -> int:
        """Length of the rendered conversation, in tokens."""
        return self._stream.prompt_tokens

    @property
    def completion_tokens(self) -> int:
        """Tokens of the answer so far."""
        return self._stream.completion_tokens

    async def begin(self) -> None:
        """Waits for the first delta, so that what fails before it can still be answered with a status of its own."""
        self._first = await anext(aiter(self._stream), None)

    async def deltas(self) -> AsyncIterator[Delta]:
        """What the engine says, the first delta included; to be read once."""
        if self._first is not None:
            yield self._first
        async for delta in self._stream:
            yield delta

    def close(self) -> None:
        """Stops the answer if it goes on, and unpins its adapter. Idempotent."""
        self._stream.cancel()
        self._on_close()


class Service:
    """The use cases over one generator, one engine and one store; held: `close` ends all three.

    Methods are called on one event loop and never block it: generation runs on one thread, since it keeps the cores
    busy by itself, store calls on a few others, answers on the engine's own.
    """

    def __init__(self, *, generator: Generator, engine: Engine, store: AdapterStore) -> None:
        self.generator = generator
        self.engine = engine
        self.store = store
        self._generating = ThreadPoolExecutor(max_workers=1, thread_name_prefix="generate")
        self._storing = ThreadPoolExecutor(max_workers=_STORE_THREADS, thread_name_prefix="store")
        self._erasing = ThreadPoolExecutor(max_workers=_ERASE_THREADS, thread_name_prefix="erase")
        self._fetching: dict[str, asyncio.Lock] = {}
        self._residents = Residents(engine=engine, store=store)

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Loads what the settings name; raises `CheckpointError` or `StoreError` where that cannot be done."""
        import torch

        torch.set_num_threads(settings.threads or usable_cores())
        store = open_store(settings)
        store.check()
        paths = checkpoints.find(settings.checkpoint, root=settings.checkpoints)
        import_architectures(settings.architectures)
        generator = Generator.from_checkpoint(
            paths, device=settings.device, max_document_tokens=settings.max_document_tokens
        )
        engine = InProcessEngine(
            generator.base,
            slots=settings.slots,
            max_rank=generator.signature.rank,
            target_modules=generator.signature.target_modules,
            max_batch_rows=settings.max_batch_rows,
        )
        service = cls(generator=generator, engine=engine, store=store)
        try:
            service._warm_up()
        except BaseException:
            service.close()
            raise
        return service

    @property
    def base(self) -> str:
        """The served name of the base model."""
        return self.generator.base.name

    def close(self) -> None:
        """Ends the engine, the threads and the store. Idempotent."""
        self._residents.close()
        self.engine.close()
        self._generating.shutdown(cancel_futures=True)
        self._storing.shutdown(cancel_futures=True)
        self._erasing.shutdown(cancel_futures=True)
        self.store.close()

    def check_engine(self) -> None:
        """Returns if the engine runs; raises `EngineClosed`."""
        if not self.engine.health().alive:
            raise EngineClosed("The engine has stopped.")

    async def check(self) -> None:
        """Returns if requests can be served; raises `EngineClosed` or `StoreUnavailable`."""
        self.check_engine()
        await self._on_store(self.store.check)

    async def write(
        self,
        scope: TenantScope,
        user: str,
        documents: Sequence[Document],
        *,
        preconditions: Preconditions,
        strength: float | None = None,
    ) -> Written:
        """Makes one adapter from the user's `documents` and stores it as the active version; durable when it returns.

        Without `strength` the checkpoint's own counts. Raises `InvalidName`, `InvalidRequest`, `DocumentTooLong`,
        `PreconditionFailed` and `StoreUnavailable`.
        """
        start = time.perf_counter()
        key = scope.user(user)
        current = await self._on_store(self._head_or_none, key)
        preconditions.check_write(entity_tag(current) if current else None)
        generation = await self._run(self._generating, self._generate, documents, strength)
        generated = time.perf_counter()
        # Only a caller who named the version it knows can lose a race; the others' last write stands.
        conditions = _unchanged(current) if preconditions.present else {}
        stored = await self._on_store(self.store.put, key, generation.adapter, **conditions)
        end = time.perf_counter()
        return Written(
            stored=stored,
            created=current is None,
            generation=generation,
            store_ms=(end - generated) * 1e3,
            total_ms=(end - start) * 1e3,
        )

    async def head(self, scope: TenantScope, user: str) -> StoredAdapter:
        """The user's active version; raises `AdapterNotFound`."""
        return await self._on_store(self.store.head, scope.user(user))

    async def content(self, scope: TenantScope, user: str, *, as_zip: bool) -> tuple[StoredAdapter, bytes]:
        """The user's active version as a PEFT zip archive, or as its safetensors file; raises `AdapterNotFound`."""
        return await self._on_store(self._content, scope.user(user), as_zip)

    async def versions(self, scope: TenantScope, user: str) -> list[StoredAdapter]:
        """All versions of the user's adapter, oldest first; raises `AdapterNotFound`."""
        return await self._on_store(self.store.versions, scope.user(user))

    async def activate(
        self, scope: TenantScope, user: str, version: int, *, preconditions: Preconditions
    ) -> StoredAdapter:
        """Makes an older version the active one; raises `AdapterNotFound`, `VersionNotFound`, `PreconditionFailed`."""
        key = scope.user(user)
        conditions = await self._conditions(key, preconditions)
        return await self._on_store(self.store.activate, key, version, **conditions)

    async def delete(self, scope: TenantScope, user: str, *, preconditions: Preconditions) -> None:
        """Removes the user's adapter, every version; answers in progress go on to their end.

        Raises `AdapterNotFound` and `PreconditionFailed`.
        """
        key = scope.user(user)
        conditions = await self._conditions(key, preconditions)
        await self._erase(key, lambda: self._residents.drop(key), conditions)

    async def erase(self, scope: TenantScope, user: str, *, preconditions: Preconditions) -> Receipt:
        """Removes the user's adapter, every version, after the answers in progress have ended; the receipt of it.

        Asked again, it gives the last erasure's receipt again. Raises `AdapterNotFound` and `PreconditionFailed`.
        """
        key = scope.user(user)
        conditions = await self._conditions(key, preconditions)

        try:
            return await self._erase(key, lambda: self._residents.drain(key, wait_s=_DRAIN_S), conditions)
        except AdapterNotFound:
            receipts = [] if preconditions.present else await self._on_store(self.store.receipts, key)
            if not receipts:
                raise
            return receipts[-1]

    async def models(
        self, scope: TenantScope, *, after: str | None, limit: int
    ) -> tuple[list[tuple[ModelId, StoredAdapter | None]], bool]:
        """One page of what this tenant may chat with, the base model first, and whether more follow."""
        return await self._on_store(self._models, scope, after, limit)

    async def chat(self, scope: TenantScope, request: ChatRequest) -> Answer:
        """Begins an answer, with the very version that `request.model` means now, to its end.

        Raises `NotFound` for another base model, `AdapterNotFound` for a user without adapter, `VersionNotFound`,
        `PromptTooLong`, `EngineBusy` and `EngineClosed`. The caller closes the answer.
        """
        model = parse_model_id(request.model)
        if model.base != self.base:
            raise NotFound("No such model; GET /v1/models lists those there are.", param="model")
        messages = [message.rendered() for message in request.messages]
        prompt = await asyncio.to_thread(self.generator.base.render_chat, messages)
        if model.user is None:
            answer = Answer(
                model=request.model,
                fingerprint=self.generator.base.digest,
                adapter=None,
                stream=self._stream(prompt, request.sampling(), digest=None),
            )
        else:
            answer = await self._complete_for(scope.user(model.user), request, prompt, version=model.version)
        try:
            await answer.begin()
        except BaseException:
            answer.close()
            raise
        return answer

    def _warm_up(self) -> None:
        """Runs every stage once, so that no user waits for what libraries put off to their first call."""
        adapter = self._generate([Document.from_text(".")], None).adapter
        self.engine.put(adapter)
        prompt = tuple(self.generator.base.render_chat([{"role": "user", "content": "."}]))
        for digest in (None, adapter.digest):
            request = CompletionRequest(prompt_ids=prompt, adapter=digest, sampling=Sampling(max_tokens=2))
            for _ in self.engine.complete(request):
                pass
        self.engine.drop(adapter.digest)

    async def _erase(self, key: UserKey, drain: Drain, conditions: dict[str, Any]) -> Receipt:
        # On threads of their own: while they wait for answers, others' requests go on.
        return await self._run(self._erasing, self.store.erase, key, drain=drain, **conditions)

    async def _complete_for(
        self, key: UserKey, request: ChatRequest, prompt: Sequence[int], *, version: int | None
    ) -> Answer:
        """An answer by the adapter of `key`, in a turn that an erasure waits for."""
        with ExitStack() as until_the_end:
            turn = self._residents.begin(key)
            until_the_end.callback(turn.end)
            lease = await self._bring_in(key, version)
            until_the_end.callback(lease.release)
            stream = self._stream(prompt, request.sampling(), digest=lease.digest)
            turn.answer(stream)
            return Answer(
                model=request.model,
                fingerprint=lease.digest,
                adapter=lease.digest,
                stream=stream,
                on_close=until_the_end.pop_all().close,
            )

    def _stream(self, prompt: Sequence[int], sampling: Sampling, *, digest: str | None) -> CompletionStream:
        return self.engine.complete(CompletionRequest(prompt_ids=tuple(prompt), adapter=digest, sampling=sampling))

    async def _bring_in(self, key: UserKey, version: int | None) -> Lease:
        """The adapter of `key` in the engine and pinned there, read from the store only if it is not resident."""
        while True:
            stored = await self._on_store(self._lookup, key, version)
            lease = await self._leased(key, stored)
            if lease is not None:
                return lease
            # Erased meanwhile, and put anew: versions count from 1 again.

    async def _leased(self, key: UserKey, stored: StoredAdapter) -> Lease | None:
        """That very adapter, pinned; None if the store has another one by now."""
        lease = await self._lease_or_fetch(key, stored)
        if lease is not None:
            self._residents.brought_in(key, stored.digest)
        return lease

    async def _lease_or_fetch(self, key: UserKey, stored: StoredAdapter) -> Lease | None:
        try:
            return self.engine.lease(stored.digest)
        except NotResident:
            pass
        # One reader for each digest: a burst of requests for a cold adapter reads it once.
        lock = self._fetching.setdefault(stored.digest, asyncio.Lock())
        try:
            async with lock:
                while True:
                    try:
                        return self.engine.lease(stored.digest)
                    except NotResident:
                        latest, adapter = await self._on_store(self.store.get, key, version=stored.version)
                        if latest.digest != stored.digest:
                            return None
                        await self._on_store(self.engine.put, adapter)
        finally:
            if not lock.locked():
                self._fetching.pop(stored.digest, None)

    def _lookup(self, key: UserKey, version: int | None) -> StoredAdapter:
        if version is None:
            return self.store.head(key)
        return self.store.get(key, version=version)[0]

    def _generate(self, documents: Sequence[Document], strength: float | None) -> Generation:
        return self.generator.generate(documents, strength=strength, encode=self.engine.encode)

    def _content(self, key: UserKey, as_zip: bool) -> tuple[StoredAdapter, bytes]:
        stored, adapter = self.store.get(key)
        return stored, adapter.to_zip() if as_zip else adapter.canonical_bytes()

    def _head_or_none(self, key: UserKey) -> StoredAdapter | None:
        try:
            return self.store.head(key)
        except AdapterNotFound:
            return None

    async def _conditions(self, key: UserKey, preconditions: Preconditions) -> dict[str, Any]:
        if not preconditions.present:
            return {}
        current = await self._on_store(self._head_or_none, key)
        preconditions.check_write(entity_tag(current) if current else None)
        return _unchanged(current)

    def _models(
        self, scope: TenantScope, after: str | None, limit: int
    ) -> tuple[list[tuple[ModelId, StoredAdapter | None]], bool]:
        page: list[tuple[ModelId, StoredAdapter | None]] = []
        user = None
        if after is None:
            page.append((ModelId(base=self.base), None))
        else:
            user = parse_model_id(after).user
        users = self.store.users(scope, after=user, limit=limit + 1 - len(page))
        more = len(page) + len(users) > limit
        for name in users[: limit - len(page)]:
            try:
                stored = self._head_or_none(scope.user(name))
            except StoreCorrupt:  # whoever chats with it hears of it; the others' list does not suffer
                continue
            if stored is not None:
                page.append((ModelId(base=self.base, user=name), stored))
        return page, more

    async def _on_store(self, function: Callable[..., _Result], *args: Any, **kwargs: Any) -> _Result:
        return await self._run(self._storing, function, *args, **kwargs)

    async def _run(
        self, pool: ThreadPoolExecutor, function: Callable[..., _Result], *args: Any, **kwargs: Any
    ) -> _Result:
        try:
            future = pool.submit(function, *args, **kwargs)
        except RuntimeError:
            raise EngineClosed("The service is stopping.") from None
        return await asyncio.wrap_future(future)


def _unchanged(current: StoredAdapter | None) -> dict[str, Any]:
    """What a store is to check in the step of a write, so that it is made only if nobody has written since."""
    if current is None:
        return {"if_version": 0}
    return {"if_version": current.version, "if_digest": current.digest}
