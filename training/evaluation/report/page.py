"""The page: results in, HTML out. What is foreign in it (names of checkpoints, kinds of questions) is escaped."""

import re
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files

from training.evaluation.measures import ARMS, Arm, Evaluation, Measure, is_comparison
from training.evaluation.numbers import of_prompt, shown
from training.evaluation.report.charts import Point, bar_chart, line_chart, time_chart

_ARMS: dict[Arm, str] = {
    "adapter": "the document's own adapter",
    "prompt": "document in the prompt, the ceiling",
    "other": "another's adapter",
    "mean": "mean adapter of many",
    "none": "no adapter",
}
_MULTIPLE = re.compile(r"exact/(\d+)x")
_TOKENS = re.compile(r"exact/tokens/(\d+)")
_ATTRIBUTE = "exact/attribute/"
_TIME = "time_s/"


def page(results: Sequence[Evaluation]) -> str:
    """The whole page, every measure of every result in it; XML as well as HTML."""
    suites = list(dict.fromkeys(result.suite for result in results))
    checkpoints = list(dict.fromkeys(result.checkpoint for result in results))
    style = (files(__package__) / "style.css").read_text(encoding="utf-8")
    sections = "".join(_section(suite, [r for r in results if r.suite == suite]) for suite in suites)
    links = "".join(f'<a href="#{escape(suite)}">{escape(suite)}</a>' for suite in suites)
    title = f"Evaluation of {', '.join(checkpoints)}"
    return (
        '<!DOCTYPE html>\n<html xmlns="http://www.w3.org/1999/xhtml" lang="en"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f"<title>{escape(title)}</title><style>{escape(style, quote=False)}</style></head><body>"
        f"<h1>{escape(title)}</h1><p>Every figure is taken on people, personas or stories that no training saw, "
        "with its 95 % interval below it. An adapter is worth what it adds to its controls.</p>"
        f"{_legend(ARMS)}<nav>{links}</nav>{sections}</body></html>\n"
    )


def _section(suite: str, results: Sequence[Evaluation]) -> str:
    parts = [f'<section id="{escape(suite)}"><h2>{escape(suite)}</h2>']
    if len(results) > 1:
        parts.append(_side_by_side(results))
    for result in results:
        parts.append(f"<h3>{escape(result.checkpoint)}</h3>")
        figures = list(_figures(result))
        if figures:
            parts.append(f'<div class="figures">{"".join(figures)}</div>')
        parts.append(_table(result))
        if result.notes:
            items = "".join(f"<li>{escape(note)}</li>" for note in result.notes)
            parts.append(f'<ul class="notes">{items}</ul>')
    return "".join([*parts, "</section>"])


def _figures(result: Evaluation) -> Iterator[str]:
    for pattern, unit in ((_MULTIPLE, "length, in trained chunk counts"), (_TOKENS, "document tokens, at most")):
        series = _by_length(result, pattern)
        if series:
            title = f"Exact answers against document length, {result.checkpoint}"
            chart = line_chart(series, title=title, x_title=unit)
            yield _figure(chart, "Exact answers against document length.", _legend(list(series)))
    points = _against_time(result)
    if points:
        chart = time_chart(
            points, title=f"Exact answers against time, {result.checkpoint}", x_title="seconds a document, logarithmic"
        )
        yield _figure(chart, "Exact answers against the time that an adapter takes to make.")
    bars = _by_attribute(result)
    if bars:
        chart = bar_chart(bars, title=f"Exact answers by attribute, {result.checkpoint}")
        yield _figure(
            chart, "Exact answers by attribute under the document's own adapter; dashed, with it in the prompt."
        )


def _figure(chart: str, caption: str, legend: str = "") -> str:
    return f"<figure>{legend}{chart}<figcaption>{escape(caption)}</figcaption></figure>"


def _by_length(result: Evaluation, pattern: re.Pattern[str]) -> dict[Arm, list[Point]]:
    series: dict[Arm, list[Point]] = {}
    for arm in _ARMS:
        points = []
        for measure in result.measures:
            match = pattern.fullmatch(measure.name)
            if match and measure.arm == arm:
                points.append(Point(x=float(match[1]), label=measure.name.rpartition("/")[2], measure=measure))
        if points:
            series[arm] = sorted(points, key=lambda point: point.x)
    # A line needs two points.
    return series if any(len(points) > 1 for points in series.values()) else {}


def _against_time(result: Evaluation) -> list[Point]:
    """Every way of making an adapter that has both a time and a share of exact answers."""
    points = []
    for measure in result.measures:
        if measure.name.startswith(_TIME) and measure.value > 0:
            method = measure.name.removeprefix(_TIME)
            quality = result.measure(f"exact/{method}", "adapter")
            if quality is not None:
                points.append(Point(x=measure.value, label=method, measure=quality))
    return points


def _by_attribute(result: Evaluation) -> list[tuple[str, Measure, Measure | None]]:
    bars = [
        (m.name.removeprefix(_ATTRIBUTE).replace("_", " "), m, result.measure(m.name, "prompt"))
        for m in result.measures
        if m.name.startswith(_ATTRIBUTE) and m.arm == "adapter"
    ]
    return sorted(bars, key=lambda bar: (bar[1].value, bar[0]))


def _table(result: Evaluation) -> str:
    head = "".join(f"<th>{arm}</th>" for arm in ARMS)
    rows = []
    for name in result.names:
        if is_comparison(name):
            continue
        cells = [result.measure(name, arm) for arm in ARMS]
        count = max(m.count for m in cells if m)
        ratio = of_prompt(result, name)
        rows.append(f"<tr><th>{escape(name)}</th>{''.join(map(_cell, cells))}<td>{count}</td><td>{ratio}</td></tr>")
    return (
        f'<div class="wide"><table><thead><tr><th>measure</th>{head}<th>count</th><th>of prompt</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _side_by_side(results: Sequence[Evaluation]) -> str:
    """The document's own adapter, a column a checkpoint."""
    names = list(
        dict.fromkeys(
            name
            for result in results
            for name in result.names
            if not name.startswith(_ATTRIBUTE) and not is_comparison(name)
        )
    )
    head = "".join(f"<th>{escape(result.checkpoint)}</th>" for result in results)
    rows = []
    for name in names:
        cells = [result.measure(name, "adapter") for result in results]
        if any(cells):
            rows.append(f"<tr><th>{escape(name)}</th>{''.join(map(_cell, cells))}</tr>")
    return (
        '<h3>Side by side: the arm adapter</h3><div class="wide"><table>'
        f"<thead><tr><th>measure</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cell(measure: Measure | None) -> str:
    if measure is None:
        return "<td></td>"
    interval = f"{shown(measure.low)} to {shown(measure.high)}"
    return f'<td class="{measure.arm}">{shown(measure.value)}<small>{interval}</small></td>'


def _legend(arms: Sequence[Arm]) -> str:
    items = "".join(f'<li class="{arm}"><i></i>{arm}: {_ARMS[arm]}</li>' for arm in arms)
    return f'<ul class="legend">{items}</ul>'
