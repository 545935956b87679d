"""Processes that nobody kills: what they write beside a dying one, or beside each other, must all be there."""

import json
import os
import random
import select
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from hypernet.adapters import Adapter
from hypernet.errors import AdapterNotFound, HypernetError, StoreUnavailable
from hypernet.storage import AdapterStore
from hypernet.storage.object_storage import ObjectStorage
from tests.crash_deaths import Child, Stepping, Tell
from tests.crash_defects import Defect
from tests.crash_places import Place
from tests.crash_scenarios import KEY, LIVE, Broken, Scenario, State, seen
from tests.storages import Wrapped


@dataclass(frozen=True, kw_only=True)
class LivePut:
    """A put of a live process."""

    which: int
    """Of `LIVE`."""
    began: float
    ended: float
    is_known: bool
    """Whether it had its answer; else it was made or not, and there is no saying when."""


@dataclass(frozen=True, kw_only=True)
class Live:
    """What a process has to tell that wrote and swept beside the dying one."""

    puts: list[LivePut]
    """In this order."""
    swept: int
    problem: str | None = None


class SlowWriter(Wrapped):
    """Leaves others time between an object that is written and the pointer that is to refer to it."""

    def __init__(self, inner: ObjectStorage, *, draw: random.Random, pace_s: float) -> None:
        super().__init__(inner)
        self._draw = draw
        self._pace_s = pace_s

    def write(self, name: str, data: bytes | bytearray) -> None:
        """As `ObjectStorage.write`."""
        super().write(name, data)
        time.sleep(self._draw.choice([0, self._draw.uniform(0, 4 * self._pace_s)]))


class Companion:
    """A child process that puts, reads and sweeps, in an order and with pauses that the seed says, until it is told
    to end; the last thing it does is a put.
    """

    def __init__(self, place: Place, scenario: Scenario, *, seed: int, pace_s: float) -> None:
        reading, self._stop = os.pipe()
        draw = random.Random(seed)
        share = draw.choice([0.0, 0.1, 0.3])

        def hesitate() -> None:
            if draw.random() < share:
                time.sleep(draw.uniform(0, 2 * pace_s))

        def work(tell: Tell) -> None:
            os.close(self._stop)
            random.seed(seed)
            objects, keys = place.open()
            slow = SlowWriter(objects, draw=draw, pace_s=pace_s)
            store = scenario.store((Stepping(slow, hesitate), Stepping(keys, hesitate)))
            may_be_gone = scenario.change(State(((1, ""),), 1)) == State()
            found = _live(store, draw, pace_s=pace_s, stop=reading, may_be_gone=may_be_gone, may_fail=place.is_remote)
            tell(json.dumps(asdict(found)).encode())

        self._child = Child(work)
        os.close(reading)

    def end(self) -> Live:
        """Tells it to end, and what it has to tell."""
        os.close(self._stop)
        status, told = self._child.wait()
        if status != 0:
            raise Broken(f"a live process ended with status {status}")
        content = json.loads(told)
        return Live(**content | {"puts": [LivePut(**put) for put in content["puts"]]})


def _live(
    store: AdapterStore, draw: random.Random, *, pace_s: float, stop: int, may_be_gone: bool, may_fail: bool
) -> Live:
    puts: list[LivePut] = []
    swept = 0
    pause_s = draw.uniform(0, 8 * pace_s)
    while True:
        ended = bool(select.select([stop], [], [], pause_s)[0])
        kind = "put" if ended else draw.choice(["put", "put", "get", "sweep"])
        try:
            if kind == "put" and (ended or len(puts) < len(LIVE) - 1):
                puts.append(_put(store, len(puts), may_fail=may_fail))
            elif kind == "sweep":
                swept += store.sweep(KEY)
            elif kind == "get" and puts:
                store.get(KEY)
        except AdapterNotFound:
            if not may_be_gone:
                return Live(puts=puts, swept=swept, problem="a live reader found nobody")
        except HypernetError as error:
            if not (may_fail and isinstance(error, StoreUnavailable)):
                return Live(puts=puts, swept=swept, problem=f"a live {kind} failed: {error.code}: {error}")
        if ended:
            return Live(puts=puts, swept=swept)
        pause_s = draw.uniform(0, pace_s)


def _put(store: AdapterStore, which: int, *, may_fail: bool) -> LivePut:
    began = time.monotonic()
    try:
        store.put(KEY, LIVE[which])
    except StoreUnavailable:
        if not may_fail:
            raise
        return LivePut(which=which, began=began, ended=float("inf"), is_known=False)
    return LivePut(which=which, began=began, ended=time.monotonic(), is_known=True)


def together(place: Place, scenario: Scenario, defect: Defect, *, pace_s: float) -> tuple[int, int]:
    """Four processes put ten adapters each, all at once, while a fifth sweeps; how many were put, and swept.

    Raises: `Broken` unless all are there.
    """
    reading, stop = os.pipe()

    def writing(adapters: tuple[Adapter, ...], seed: int) -> Callable[[Tell], None]:
        def work(_: Tell) -> None:
            os.close(stop)
            defect.plant()
            objects, keys = place.open()
            store = scenario.store((SlowWriter(objects, draw=random.Random(seed), pace_s=pace_s), keys))
            for adapter in adapters:
                store.put(KEY, adapter)

        return work

    def sweep(tell: Tell) -> None:
        os.close(stop)
        defect.plant()
        objects, keys = place.open()
        store = scenario.store((defect.wrap(objects), keys))
        swept = 0
        while not select.select([reading], [], [], random.uniform(0, 10 * pace_s))[0]:
            swept += store.sweep(KEY)
        tell(b"%d" % swept)

    sweeper = Child(sweep)
    writers = [Child(writing(LIVE[start::4], start)) for start in range(4)]
    ended = [writer.wait()[0] for writer in writers]
    os.close(stop)
    os.close(reading)
    status, swept = sweeper.wait()
    if any([status, *ended]):
        raise Broken(f"writers ended with {ended}, the sweeper with {status}")
    state = seen(scenario.store(place.open()))
    if sorted(digest for _, digest in state.versions) != sorted(adapter.digest for adapter in LIVE):
        raise Broken(f"of {len(LIVE)} puts, {len({digest for _, digest in state.versions})} are there")
    return len(state.versions), int(swept)
