"""A folder of documents, one JSON file each: anybody's people, evaluated as the suites evaluate theirs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from hypernet.documents import Document
from hypernet.errors import DocumentError, InvalidRequest
from training.evaluation.bench import Bench
from training.evaluation.cases import Case, Probe
from training.evaluation.record import Record
from training.evaluation.scoring import quoted_phrases
from training.world.questions import DECLINE

PLAIN_KINDS = frozenset({"general"})
"""Kinds of questions that have nothing to do with the document: a manner of speech in the reply is wrong."""

_NAME = "documents"
_Filled = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
# With a letter or a digit: punctuation does not count when answers are compared.
_Answer = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"\w")]
_Kind = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[^\x00-\x1f\x7f]{1,64}$")]


class _Strict(BaseModel):
    # Every field is required, so a misspelt one is missed; others may carry what their owner wants to keep there.
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class _Question(_Strict):
    question: _Filled
    answers: list[_Answer]
    kind: _Kind


class _File(_Strict):
    id: _Filled | int
    document: _Filled
    questions: Annotated[list[_Question], Field(min_length=1)]


def documents(bench: Bench, cases: Sequence[Case]) -> Record:
    """Every question of every document under every arm.

    Raises:
        InvalidRequest: a document is longer than the checkpoint reads; the message names its file. Nothing has been
            measured then.
    """
    most = bench.generator.max_document_tokens
    for case in cases:
        length = bench.tokens(case.document)
        if length > most:
            raise InvalidRequest(
                f"{case.name}: document: it has {length} tokens, {bench.generator.name!r} reads at most {most}.",
                param=_NAME,
            )
    record = Record()
    bench.ask(record, cases, bench.write([case.document for case in cases]))
    return record


def read_documents(folder: Path) -> list[Case]:
    """The documents of every ``*.json`` in ``folder``, in the order of their names.

    A file is ``{"id", "document", "questions": [{"question", "answers": [...], "kind"}]}``. Any of ``answers`` counts;
    an empty list means that the document does not say, and that the model should decline. A question counts towards
    ``exact`` and ``exact/<kind>``.

    Raises:
        InvalidRequest: there is no such folder or nothing in it, or a file is not of that form; the message names the
            file and the field.
    """
    if not folder.is_dir():
        hint = " How many documents a suite asks about is --count." if folder.name.isdigit() else ""
        raise InvalidRequest(f"Expected a folder of JSON files at {folder}, found none.{hint}", param=_NAME)
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise InvalidRequest(f"Expected JSON files in {folder}, one a document, found none.", param=_NAME)
    cases: list[Case] = []
    owners: dict[str | int, Path] = {}
    for path in paths:
        file = _read(path)
        if file.id in owners:
            raise InvalidRequest(f"{path}: id {file.id!r} is that of {owners[file.id].name} too.", param=_NAME)
        owners[file.id] = path
        phrases = quoted_phrases(file.document)
        probes = tuple(_probe(question, phrases) for question in file.questions)
        cases.append(Case(document=file.document, probes=probes, person=len(cases), name=str(path)))
    return cases


def _read(path: Path) -> _File:
    try:
        file = _File.model_validate(_json(path))
        Document.from_text(file.document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = _field(first["loc"]) or "the whole file"
        more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise InvalidRequest(f"{path}: {where}: {first['msg']}{more}.", param=_NAME) from None
    except DocumentError as error:
        raise InvalidRequest(f"{path}: document: {error.message}", param=_NAME) from None
    return file


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_without_repeats)
    except (OSError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise InvalidRequest(f"{path}: expected JSON in UTF-8: {error}", param=_NAME) from None


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuses a key that comes twice: one of the two would be dropped in silence."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} comes twice in one object")
        found[key] = value
    return found


def _field(location: tuple[int | str, ...]) -> str:
    """``questions[2].answers`` for ``("questions", 2, "answers")``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")


def _probe(question: _Question, phrases: tuple[str, ...]) -> Probe:
    plain = question.kind in PLAIN_KINDS
    return Probe(
        text=question.question,
        answers=tuple(question.answers) or (DECLINE,),
        measures=("exact", f"exact/{question.kind}"),
        plain=plain,
        of_document=not plain,
        phrases=phrases,
    )
