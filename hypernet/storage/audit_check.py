"""Whether an audit log is whole: nothing in it removed, changed or put in another order. Needs no store, no secret."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hypernet.storage.audit_keys import is_signed
from hypernet.storage.audit_log import FIRST_PREV, hash_of, read_line, signed_text

Anchor = Mapping[str, tuple[int, str]]
"""By lane, how many lines there were and the hash of the last one."""


@dataclass(kw_only=True)
class _Lane:
    lines: int = 0
    prev: str = FIRST_PREV
    segments: int = 0
    signed: int = 0
    """How many of its lines have a signature behind them."""


@dataclass(kw_only=True)
class LogFindings:
    """What a check of a log came to."""

    lines: int = 0
    heads: dict[str, tuple[int, str]] = field(default_factory=dict)
    """An anchor for the next check, to be kept where whoever can change the log cannot."""
    problems: list[str] = field(default_factory=list)
    """What is wrong, in words; empty for a whole log."""


def check_log(
    lines: Iterable[bytes],
    *,
    public_key: str,
    anchor: Anchor | None = None,
    seen: Callable[[Mapping[str, Any], str], None] | None = None,
) -> LogFindings:
    """Follows every lane of a log from its first line; ``seen`` is told each line and its hash.

    Lines missing at the end of a lane leave no trace in what is there: with an ``anchor`` from an earlier check they
    are found, up to that check.
    """
    found = LogFindings()
    lanes: dict[str, _Lane] = {}
    anchored = {lane: False for lane, (count, _) in (anchor or {}).items() if count}
    for data in lines:
        content = read_line(data)
        if content is None:
            found.problems.append("a line cannot be read")
            continue
        name = content["lane"]
        lane = lanes.setdefault(name, _Lane())
        if "signature" in content:
            number = content["segment"]
            if number != lane.segments:
                found.problems.append(f"lane {name}: segment {lane.segments} is missing, or not where it was")
            text = signed_text(name, number, lane.prev)
            if not is_signed(text, signature=str(content["signature"]), public_key=public_key):
                found.problems.append(f"lane {name}: segment {number} was changed after it was signed")
            lane.segments, lane.signed = number + 1, lane.lines
            continue
        number = content["line"]
        if number != lane.lines:
            found.problems.append(f"lane {name}: line {lane.lines} is missing, or not where it was")
        elif content.get("prev") != lane.prev:
            found.problems.append(f"lane {name}: line {number} does not follow from the one before it")
        lane.lines, lane.prev = number + 1, hash_of(data)
        found.lines += 1
        if seen is not None:
            seen(content, lane.prev)
        if anchor is not None and anchor.get(name) == (lane.lines, lane.prev):
            anchored[name] = True
    for name, lane in lanes.items():
        found.heads[name] = (lane.lines, lane.prev)
        if lane.signed != lane.lines:
            found.problems.append(f"lane {name}: the lines from {lane.signed} on have no signature")
    found.problems += [
        f"lane {name}: lines that were there at the last check are missing, or others"
        for name, is_there in anchored.items()
        if not is_there
    ]
    return found
