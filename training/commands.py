"""What training adds to the ``hypernet`` program."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from training.evaluation.evaluate import Evaluation


def evaluate(
    checkpoint: Annotated[str, typer.Option(help="Checkpoint to measure.")] = "tiny",
    suite: Annotated[str, typer.Option(help="What to ask: profiles.")] = "profiles",
    documents: Annotated[int, typer.Option(min=2, help="Held-out documents to ask about.")] = 500,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for programs.")] = False,
) -> None:
    """Measure a checkpoint on people it never saw, beside the controls: no adapter, document in the prompt,
    another's, the mean.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from hypernet.errors import InvalidRequest
    from hypernet.generators import load
    from training.evaluation.evaluate import evaluate as run
    from training.evaluation.suites import SUITES

    if suite not in SUITES:
        raise InvalidRequest(f"Expected a suite among {', '.join(SUITES)}, got {suite!r}.")
    columns = (TextColumn("{task.description:>12}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, "int"] = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done)  # type: ignore[arg-type]

        result = run(load(checkpoint), suite=suite, documents=documents, progress=progress)
    if as_json:
        import json

        typer.echo(json.dumps(result.to_dict()))
    else:
        _print_table(result)


def _print_table(result: "Evaluation") -> None:
    """Measures down, arms across, every cell with its interval."""
    from rich.console import Console
    from rich.table import Table

    from training.evaluation.arms import ARMS

    table = Table(title=f"{result.checkpoint}, suite {result.suite}: share right, 95 % interval")
    table.add_column("measure", no_wrap=True)
    for arm in ARMS:
        table.add_column(arm, justify="right", no_wrap=True)
    table.add_column("count", justify="right", no_wrap=True)
    table.add_column("of prompt", justify="right", no_wrap=True)
    for name in sorted({m.name for m in result.measures if "/attribute/" not in m.name}):
        cells = [result.share(name, arm) for arm in ARMS]
        prompt, adapter = result.share(name, "prompt"), result.share(name, "adapter")
        ratio = adapter.value / prompt.value if adapter and prompt and prompt.value else None
        shown = [f"{m.value:.3f}\n[dim]{m.low:.2f}-{m.high:.2f}[/dim]" if m else "" for m in cells]
        count = next(m.count for m in cells if m)
        table.add_row(name, *shown, str(count), "" if ratio is None else f"{ratio:.3f}")
    console = Console()
    # Narrower than this, the figures would be cut off.
    console.width = max(console.width, 108)
    console.print(table)
