"""Which adapters an engine holds, and which of them are in its slots."""

from collections import Counter, OrderedDict

from hypernet.adapters import Adapter
from hypernet.errors import EngineBusy, NotResident


class Residency:
    """Adapters in memory, by digest, and the slots that some of them are in. Not thread-safe: its owner has the lock.

    Two tiers, each evicting its least recently used member that nobody needs. In memory: at most `max_resident`; an
    adapter that is pinned (leased, waited for or running) stays. In slots: one that runs stays in its slot; one that is
    only pinned may lose its slot to another, because it can be written again.
    """

    def __init__(self, *, slots: int, max_resident: int) -> None:
        self.slots = slots
        self.max_resident = max_resident
        self._adapters: OrderedDict[str, Adapter] = OrderedDict()
        self._pins: Counter[str] = Counter()
        self._dropped: set[str] = set()
        self._slot_of: OrderedDict[str, int] = OrderedDict()
        self._running: Counter[str] = Counter()
        self._free = list(range(slots, 0, -1))

    def put(self, adapter: Adapter) -> list[int]:
        """Take an adapter in; returns the slots that were emptied for it. Raises `EngineBusy` if all are pinned."""
        digest = adapter.digest
        self._dropped.discard(digest)
        if digest in self._adapters:
            self._adapters.move_to_end(digest)
            return []
        emptied = []
        if len(self._adapters) >= self.max_resident:
            victim = next((each for each in self._adapters if not self._pins[each]), None)
            if victim is None:
                raise EngineBusy(f"All {self.max_resident} adapters in memory are in use; try again in a moment.")
            emptied = self._forget(victim)
        self._adapters[digest] = adapter
        return emptied

    def pin(self, digest: str) -> None:
        """Keep an adapter in memory until as many `unpin`s. Raises `NotResident`."""
        if digest not in self._adapters or digest in self._dropped:
            raise NotResident("The adapter is not in the engine; put it first.")
        self._adapters.move_to_end(digest)
        self._pins[digest] += 1

    def unpin(self, digest: str) -> list[int]:
        """Undo one `pin`; returns the slots that were emptied, when the adapter was dropped meanwhile."""
        self._pins[digest] -= 1
        if self._pins[digest]:
            return []
        del self._pins[digest]
        return self._forget(digest) if digest in self._dropped else []

    def drop(self, digest: str) -> list[int]:
        """Take an adapter out, as soon as nothing pins it; returns the slots that were emptied."""
        if digest not in self._adapters:
            return []
        if self._pins[digest]:
            self._dropped.add(digest)
            return []
        return self._forget(digest)

    def enter(self, digest: str) -> tuple[int, Adapter | None] | None:
        """A slot for a pinned adapter to run in until `leave`, and the adapter if it is still to be written there.

        None when adapters that run are in every slot.
        """
        slot = self._slot_of.get(digest)
        if slot is not None:
            self._slot_of.move_to_end(digest)
            self._running[digest] += 1
            return slot, None
        if not self._free:
            victim = next((each for each in self._slot_of if not self._running[each]), None)
            if victim is None:
                return None
            self._free.append(self._slot_of.pop(victim))
        self._slot_of[digest] = self._free.pop()
        self._running[digest] += 1
        return self._slot_of[digest], self._adapters[digest]

    def leave(self, digest: str) -> None:
        """Undo one `enter`; the adapter stays in its slot until another needs it."""
        self._running[digest] -= 1
        if not self._running[digest]:
            del self._running[digest]

    def unwritten(self, digest: str) -> None:
        """Take back the slot of an adapter that entered and could not be written; `leave` is still to come."""
        self._free.append(self._slot_of.pop(digest))

    def resident(self) -> tuple[str, ...]:
        """Digests of what is in memory and not dropped, least recently used first."""
        return tuple(digest for digest in self._adapters if digest not in self._dropped)

    @property
    def slots_in_use(self) -> int:
        """Slots whose adapter runs."""
        return len(self._running)

    def _forget(self, digest: str) -> list[int]:
        del self._adapters[digest]
        self._dropped.discard(digest)
        slot = self._slot_of.pop(digest, None)
        if slot is None:
            return []
        self._free.append(slot)
        return [slot]
