"""One checkpoint, one suite or one folder of documents: the table that every quality figure comes from."""

from collections.abc import Sequence

from hypernet.errors import InvalidRequest
from training.evaluation.bench import Bench, Progress
from training.evaluation.cases import Case
from training.evaluation.measures import Evaluation
from training.evaluation.record import Record
from training.evaluation.suites import SUITES
from training.evaluation.suites.documents import documents

DOCUMENTS = "documents"
"""What a result calls its suite when it was a folder of documents."""


def evaluate(
    bench: Bench,
    *,
    suite: str,
    count: int | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Evaluation:
    """Measure the checkpoint on ``bench`` on ``suite`` under every arm.

    Args:
        bench: what is measured, and with what.
        suite: a key of ``SUITES``.
        count: how many documents, people or users; the suite's own number by default, two at least.
        progress: called as the work goes on.

    Raises:
        InvalidRequest: the suite needs public data that is not there; the message says what and where to get it.
    """
    chosen = SUITES[suite]
    bench.progress = progress
    try:
        record = chosen.run(bench, count or chosen.count)
    except FileNotFoundError as error:
        raise InvalidRequest(f"The suite {suite!r} needs public data. {error}", param="data_dir") from error
    return _evaluation(bench, record, suite=suite)


def evaluate_documents(
    bench: Bench, cases: Sequence[Case], *, progress: Progress = lambda what, done, total: None
) -> Evaluation:
    """Measure the checkpoint on ``bench`` on documents of one's own, as `read_documents` gives them."""
    bench.progress = progress
    return _evaluation(bench, documents(bench, cases), suite=DOCUMENTS)


def _evaluation(bench: Bench, record: Record, *, suite: str) -> Evaluation:
    record.compare_arms()
    measures = record.measures()  # may add a note
    return Evaluation(suite=suite, checkpoint=bench.generator.name, measures=measures, notes=tuple(record.notes))
