"""What training adds to the ``hypernet`` program."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from training.evaluation.bench import Progress
    from training.evaluation.measures import Evaluation


def evaluate(
    checkpoint: Annotated[list[str] | None, typer.Option(help="Checkpoint to measure; may be repeated.")] = None,
    suite: Annotated[
        list[str] | None,
        typer.Option(
            help="profiles (the default), needle, interference, long, conversation, personality, frontier; repeatable."
        ),
    ] = None,
    documents: Annotated[
        Path | None, typer.Option(help="Folder of documents of your own, one JSON file each, in place of a suite.")
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(min=2, help="Documents, people or users to measure; the suite's own number by default."),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of public data sets; HYPERNET_DATA_DIR by default.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Folder to write one HTML page into, index.html.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object for every checkpoint and suite, one a line.")
    ] = False,
) -> None:
    """Measure checkpoints on people they never saw, beside the controls: no adapter, document in the prompt,
    another's, the mean.
    """
    results = []
    for result in _results(checkpoint or ["tiny"], suite, documents=documents, count=count, data_dir=data_dir):
        results.append(result)
        if as_json:
            from hypernet.cli.output import print_json

            print_json(result.to_dict())
            for note in result.notes:
                typer.echo(f"{result.checkpoint}, {result.suite}: {note}", err=True)
        else:
            _print_table(result)
        if report is not None:
            from training.evaluation.report import write_report

            # After every result: a later one that fails takes nothing away from what is there.
            write_report(results, report)


def calibrate(
    checkpoint: Annotated[str, typer.Option(help="Checkpoint whose strength to choose.")] = "tiny",
    people: Annotated[int, typer.Option(min=32, help="People of the hold-out, in whole batches of 32.")] = 96,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for programs.")] = False,
) -> None:
    """Choose the strength that a checkpoint's adapters are written with, recall against retention, and write it into
    its manifest.
    """
    from dataclasses import asdict

    from hypernet.checkpoints import find
    from hypernet.generators import load
    from training.calibration import set_strength, try_strengths

    generator = load(checkpoint)
    try:
        tried = try_strengths(generator, people=people)
    finally:
        generator.close()
    chosen = set_strength(find(checkpoint).hypernetwork, tried)
    if as_json:
        from hypernet.cli.output import print_json

        print_json({"checkpoint": checkpoint, "strength": chosen.strength, "tried": [asdict(one) for one in tried]})
        return
    typer.echo("strength  recall  general  divergence")
    for one in tried:
        mark = "  <- chosen" if one == chosen else ""
        typer.echo(f"{one.strength:8.2f}  {one.recall:6.3f}  {one.general:7.3f}  {one.divergence:10.4f}{mark}")


def _results(
    checkpoints: list[str],
    suites: list[str] | None,
    *,
    documents: Path | None,
    count: int | None,
    data_dir: Path | None,
) -> Iterator["Evaluation"]:
    """Every suite for every checkpoint; what was asked for is checked before anything is measured."""
    from hypernet.errors import InvalidRequest
    from hypernet.generators import load
    from training.evaluation.bench import Bench
    from training.evaluation.evaluate import evaluate as run
    from training.evaluation.evaluate import evaluate_documents
    from training.evaluation.suites import SUITES
    from training.evaluation.suites.documents import read_documents

    for name in suites or []:
        if name not in SUITES:
            raise InvalidRequest(f"Expected a suite among {', '.join(SUITES)}, got {name!r}.", param="suite")
    if documents is not None and suites not in (None, ["profiles"]):
        raise InvalidRequest("--documents takes the place of a suite; give one of the two.", param="documents")
    cases = None if documents is None else read_documents(documents)
    for checkpoint in checkpoints:
        generator = load(checkpoint)
        bench = Bench(generator, data_dir=data_dir)
        try:
            if cases is not None:
                with _progress(checkpoint) as progress:
                    result = evaluate_documents(bench, cases[:count], progress=progress)
                yield result
                continue
            for name in suites or ["profiles"]:
                with _progress(f"{checkpoint} {name}") as progress:
                    result = run(bench, suite=name, count=count, progress=progress)
                yield result
        finally:
            generator.close()


@contextmanager
def _progress(what: str) -> Iterator["Progress"]:
    """Bars on standard error while the block runs."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:>30}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def progress(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(f"{what} {step}", total=total)
            bars.update(tasks[step], completed=done)

        yield progress


def _print_table(result: "Evaluation") -> None:
    """Measures down, arms across, every cell with its interval."""
    from rich.console import Console
    from rich.table import Table

    from hypernet.cli.output import plain
    from training.evaluation.measures import ARMS, is_comparison
    from training.evaluation.numbers import of_prompt, shown

    table = Table(title=f"{plain(result.checkpoint)}, suite {result.suite}: value, 95 % interval")
    table.add_column("measure", no_wrap=True)
    for arm in ARMS:
        table.add_column(arm, justify="right", no_wrap=True)
    table.add_column("count", justify="right", no_wrap=True)
    table.add_column("of prompt", justify="right", no_wrap=True)
    for name in result.names:
        if "/attribute/" in name or is_comparison(name):
            continue
        cells = [result.measure(name, arm) for arm in ARMS]
        texts = [f"{shown(m.value)}\n[dim]{shown(m.low)} to {shown(m.high)}[/dim]" if m else "" for m in cells]
        count = next(m.count for m in cells if m)
        table.add_row(plain(name), *texts, str(count), of_prompt(result, name))
    console = Console()
    # Narrower than this, the figures would be cut off.
    console.width = max(console.width, 150)
    console.print(table)
    for note in result.notes:
        console.print(f"- {plain(note)}", highlight=False)
