"""Figures, their bars, and how they are shown."""

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One figure. With a `bar`, it is meant to be at most that."""

    name: str
    value: float
    unit: str
    bar: float | None = None


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of `values` do not pass, between neighbours by proportion."""
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=1000, method="inclusive")[max(0, min(998, round(share * 1000) - 1))]


def p50_and_p95(name: str, values: Sequence[float], *, unit: str = "ms", bar: float | None = None) -> list[Measure]:
    """Median and 95th percentile of `values`; the bar is the median's."""
    return [
        Measure(name=f"{name}.p50", value=percentile(values, 0.5), unit=unit, bar=bar),
        Measure(name=f"{name}.p95", value=percentile(values, 0.95), unit=unit),
    ]


def show(measures: Iterable[Measure]) -> None:
    """A table for people, each bar beside its figure, and for programs one last line of JSON."""
    measures = list(measures)
    table = Table("measure", "value", "unit", "bar")
    for measure in measures:
        bar = ""
        if measure.bar is not None:
            bar = (
                f"[green]at most {measure.bar:g}[/]"
                if measure.value <= measure.bar
                else f"[red]over {measure.bar:g}[/]"
            )
        table.add_row(measure.name, f"{measure.value:.4g}", measure.unit, bar)
    Console(highlight=False, width=110).print(table)
    report = [{"name": measure.name, "value": round(measure.value, 4), "unit": measure.unit} for measure in measures]
    print(json.dumps({"measures": report}))
