"""Charts as SVG: coloured by the page's style sheet, so that they are right in light and in dark."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

from training.evaluation.measures import Arm, Measure
from training.evaluation.numbers import shown

_WIDTH = 480
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 14, 12, 40
_HEIGHT = 280
_BAR, _LABELS = 19, 150


@dataclass(frozen=True, kw_only=True)
class Point:
    """One figure in a chart.

    Attributes:
        x: where it stands.
        label: what it is called.
        measure: value and interval.
    """

    x: float
    label: str
    measure: Measure


def line_chart(series: Mapping[Arm, Sequence[Point]], *, title: str, x_title: str) -> str:
    """Shares against a quantity, a line an arm, intervals as whiskers."""
    points = [point for of_arm in series.values() for point in of_arm]
    low, high = min(p.x for p in points), max(p.x for p in points)
    span = (high - low) or 1.0

    def across(x: float) -> float:
        return _LEFT + (x - low) / span * (_WIDTH - _LEFT - _RIGHT)

    parts = [_shares_grid()]
    ticks = sorted({(point.x, point.label) for point in points})
    for x, label in ticks[:: ceil(len(ticks) / 9)]:
        parts.append(_text(across(x), _HEIGHT - _BOTTOM + 16, label, "tick", anchor="middle"))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, x_title, "tick", anchor="middle"))
    for place, (arm, of_arm) in enumerate(series.items()):
        # Moved aside a little, so that whiskers of arms with equal values do not hide each other.
        aside = 3.0 * (place - (len(series) - 1) / 2)
        dots = [(across(point.x) + aside, _up(point.measure.value), point) for point in of_arm]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in dots)
        parts.append(f'<g class="{arm}"><polyline class="line" points="{path}"/>')
        parts += [_dot(x, y, point) for x, y, point in dots]
        parts.append("</g>")
    return _svg(_HEIGHT, title, parts)


def time_chart(points: Sequence[Point], *, title: str, x_title: str) -> str:
    """Shares against seconds on a logarithmic axis, every point with its name."""
    low = floor(min(log10(p.x) for p in points))
    high = max(ceil(max(log10(p.x) for p in points)), low + 1)

    def across(x: float) -> float:
        return _LEFT + (log10(x) - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    parts = [_shares_grid()]
    for power in range(low, high + 1):
        x = across(10.0**power)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>')
        parts.append(_text(x, _HEIGHT - _BOTTOM + 16, f"{10.0**power:g}", "tick", anchor="middle"))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, x_title, "tick", anchor="middle"))
    taken: list[tuple[float, float]] = []
    for place, point in enumerate(sorted(points, key=lambda p: p.x)):
        x, y = across(point.x), _up(point.measure.value)
        parts.append(f'<g class="{"adapter" if place == 0 else "other"}">{_dot(x, y, point)}</g>')
        right = x > _WIDTH * 0.6
        height = y - 8 if y > _TOP + 20 else y + 18
        while any(abs(height - other) < 13 and abs(x - at) < 150 for at, other in taken):
            height += 13
        taken.append((x, height))
        parts.append(_text(x + (-6 if right else 6), height, point.label, "", anchor="end" if right else "start"))
    return _svg(_HEIGHT, title, parts)


def bar_chart(bars: Sequence[tuple[str, Measure, Measure | None]], *, title: str) -> str:
    """A bar for each label, its interval as a whisker, the ceiling beside it as a dashed mark."""
    height = _TOP + _BAR * len(bars) + 26
    bottom = height - 26

    def across(share: float) -> float:
        return _LABELS + share * (_WIDTH - _LABELS - _RIGHT)

    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = across(tick)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>')
        parts.append(_text(x, bottom + 15, f"{tick:g}", "tick", anchor="middle"))
    for row, (label, measure, ceiling) in enumerate(bars):
        y = _TOP + _BAR * row + 2
        middle = y + (_BAR - 4) / 2
        parts.append(_text(_LABELS - 6, middle + 4, label, "", anchor="end"))
        parts.append(
            f'<g class="adapter">{_tooltip(label, measure)}<rect class="bar" x="{_LABELS}" y="{y}" '
            f'width="{across(measure.value) - _LABELS:.1f}" height="{_BAR - 4}"/><line class="whisker" '
            f'x1="{across(measure.low):.1f}" x2="{across(measure.high):.1f}" y1="{middle}" y2="{middle}"/></g>'
        )
        if ceiling is not None:
            x = across(ceiling.value)
            parts.append(f'<line class="ceiling" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 1}" y2="{y + _BAR - 3}"/>')
    return _svg(height, title, parts)


def _up(share: float) -> float:
    return _TOP + (1 - min(max(share, 0.0), 1.0)) * (_HEIGHT - _TOP - _BOTTOM)


def _shares_grid() -> str:
    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = _up(tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(_LEFT - 6, y + 4, f"{tick:g}", "tick", anchor="end"))
    return "".join(parts)


def _dot(x: float, y: float, point: Point) -> str:
    low, high = _up(point.measure.low), _up(point.measure.high)
    return (
        f'<g>{_tooltip(point.label, point.measure)}<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" '
        f'y2="{high:.1f}"/><circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/></g>'
    )


def _tooltip(label: str, measure: Measure) -> str:
    interval = f"{shown(measure.low)} to {shown(measure.high)}"
    return (
        f"<title>{escape(f'{label}, {measure.arm}: {shown(measure.value)} ({interval}), n = {measure.count}')}</title>"
    )


def _text(x: float, y: float, text: str, style: str, *, anchor: str) -> str:
    classes = f' class="{style}"' if style else ""
    return f'<text{classes} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(height: int, title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg>'
    )
