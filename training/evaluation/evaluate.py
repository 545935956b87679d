"""One checkpoint, one suite or one folder of documents: the table that every quality figure comes from."""

from collections.abc import Sequence
from pathlib import Path

from hypernet.errors import InvalidRequest
from hypernet.generators import Generator
from training.evaluation.bench import Bench, Progress
from training.evaluation.cases import Case
from training.evaluation.measures import Evaluation
from training.evaluation.record import Record
from training.evaluation.suites import SUITES
from training.evaluation.suites.documents import documents

DOCUMENTS = "documents"
"""What a result calls its suite when it was a folder of documents."""


def evaluate(
    generator: Generator,
    *,
    suite: str,
    count: int | None = None,
    data_dir: Path | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Evaluation:
    """Measure ``generator`` on ``suite`` under every arm.

    Args:
        generator: what is measured.
        suite: a key of ``SUITES``.
        count: how many documents, people or users; the suite's own number by default, two at least.
        data_dir: folder of public data sets, for the suites that need one; ``HYPERNET_DATA_DIR`` by default.
        progress: called as the work goes on.

    Raises:
        InvalidRequest: the suite needs public data that is not there; the message says what and where to get it.
    """
    chosen = SUITES[suite]
    bench = Bench(generator, data_dir=data_dir, progress=progress)
    try:
        record = chosen.run(bench, count or chosen.count)
    except FileNotFoundError as error:
        raise InvalidRequest(f"The suite {suite!r} needs public data. {error}", param="data_dir") from error
    return _evaluation(generator, record, suite=suite)


def evaluate_documents(
    generator: Generator,
    cases: Sequence[Case],
    *,
    progress: Progress = lambda what, done, total: None,
) -> Evaluation:
    """Measure ``generator`` on documents of one's own, as `read_documents` gives them, under every arm."""
    record = documents(Bench(generator, progress=progress), list(cases))
    return _evaluation(generator, record, suite=DOCUMENTS)


def _evaluation(generator: Generator, record: Record, *, suite: str) -> Evaluation:
    measures = record.measures()  # may add a note
    return Evaluation(suite=suite, checkpoint=generator.name, measures=measures, notes=tuple(record.notes))
