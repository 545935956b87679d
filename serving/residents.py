"""Whose adapters are in an engine, and getting them out of it once the store gives them to nobody any more."""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable

from hypernet.engines import CompletionStream, Engine
from hypernet.errors import AdapterNotFound, StoreCorrupt, StoreUnavailable
from hypernet.storage import AdapterStore, UserKey

logger = logging.getLogger("serving")

_PERIOD_S = 30.0
_DRAIN_POLL_S = 0.02


class Turn:
    """One answer by a user's adapter, from before the adapter is looked up to the answer's end."""

    def __init__(self, *, on_end: Callable[[], None]) -> None:
        self._on_end = on_end
        self._lock = threading.Lock()
        self._stream: CompletionStream | None = None
        self._is_cut = False

    def answer(self, stream: CompletionStream) -> None:
        """Names the answer. Raises: `AdapterNotFound`, with the answer cancelled, where the turn was cut before."""
        with self._lock:
            self._stream = stream
        if self._is_cut:
            stream.cancel()
            raise AdapterNotFound()

    def cut(self) -> None:
        """Ends the answer with an error, or as soon as there is one."""
        with self._lock:
            self._is_cut = True
        if self._stream is not None:
            self._stream.cancel(AdapterNotFound())

    def end(self) -> None:
        """Ends the turn. Idempotent."""
        self._on_end()


class Residents:
    """Keeps an engine to what its store says; safe to call from many threads; `close` ends it.

    An adapter that is erased through this process leaves the engine at once. What others erase, or what is pruned, is
    found by looking through the engine's adapters every ``period_s`` seconds: until then it lies in memory, and no
    request reaches it, since each asks the store first.
    """

    def __init__(self, *, engine: Engine, store: AdapterStore, period_s: float = _PERIOD_S) -> None:
        self._engine = engine
        self._store = store
        self._period_s = period_s
        self._lock = threading.Lock()
        self._users: defaultdict[str, set[UserKey]] = defaultdict(set)
        self._turns: defaultdict[UserKey, set[Turn]] = defaultdict(set)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="residents", daemon=True)
        self._thread.start()

    def brought_in(self, key: UserKey, digest: str) -> None:
        """Notes that the engine has an adapter for this user's sake."""
        with self._lock:
            self._users[digest].add(key)

    def begin(self, key: UserKey) -> "Turn":
        """Begins a turn of this user: before the adapter is looked up, so that no erasure misses it."""
        turn = Turn(on_end=lambda: self._end(key, turn))
        with self._lock:
            self._turns[key].add(turn)
        return turn

    def drop(self, key: UserKey) -> None:
        """Takes the user's adapters out of the engine, each as soon as the answers that it is making have ended."""
        with self._lock:
            digests = [digest for digest, keys in self._users.items() if key in keys]
        for digest in digests:
            self._engine.drop(digest)

    def drain(self, key: UserKey, *, wait_s: float) -> None:
        """Waits for the user's turns to end, cuts those that go on after ``wait_s``, and takes the adapters out."""
        with self._lock:
            turns = set(self._turns.get(key, ()))
        deadline = time.monotonic() + wait_s
        while turns and time.monotonic() < deadline:
            time.sleep(_DRAIN_POLL_S)
            with self._lock:
                turns &= self._turns.get(key, set())
        for turn in turns:
            turn.cut()
        self.drop(key)

    def look_through(self) -> int:
        """Takes out what the store gives to none of those whom it was brought in for; how many."""
        with self._lock:
            for digest in set(self._users) - set(self._engine.resident()):
                del self._users[digest]
            users = {digest: tuple(keys) for digest, keys in self._users.items()}
        dropped = 0
        for digest, keys in users.items():
            if self._closing.is_set():
                break
            if not any(self._is_stored(key, digest) for key in keys):
                self._engine.drop(digest)
                dropped += 1
        return dropped

    def close(self) -> None:
        """Stops looking. Idempotent."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closing.wait(self._period_s):
            try:
                self.look_through()
            # Whatever it is, the next look may go well; its text may quote what is stored.
            except Exception as error:  # noqa: BLE001
                logger.error("looking through the engine's adapters failed: %s", type(error).__name__)

    def _end(self, key: UserKey, turn: "Turn") -> None:
        with self._lock:
            turns = self._turns.get(key, set())
            turns.discard(turn)
            if not turns:
                self._turns.pop(key, None)

    def _is_stored(self, key: UserKey, digest: str) -> bool:
        try:
            return any(stored.digest == digest for stored in self._store.versions(key))
        except AdapterNotFound:
            return False
        except (StoreUnavailable, StoreCorrupt):  # nobody can tell now
            return True
