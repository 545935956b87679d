"""A folder of documents: what is read from it, and how exactly it is told what is wrong with it."""

import json

import pytest

from hypernet.errors import InvalidRequest
from training.evaluation.suites.documents import read_documents
from training.world.questions import DECLINE

GOOD = {
    "id": "ada",
    "document": "My name is Ada.\nI live in York.",
    "questions": [
        {"question": "Where do you live?", "answers": ["York", "in York"], "kind": "open"},
        {"question": "What is your hobby?", "answers": [], "kind": "unanswerable"},
        {"question": "What do cows give?", "answers": ["milk"], "kind": "general"},
    ],
}


def write(folder, name="ada", content=GOOD):
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / f"{name}.json").write_text(text, encoding="utf-8")


def with_question(**changes):
    return GOOD | {"questions": [GOOD["questions"][0] | changes]}


def test_documents_are_read_in_the_order_of_their_names(tmp_path):
    write(tmp_path, "b", GOOD | {"id": "b", "document": "B"})
    write(tmp_path, "a", GOOD | {"id": "a", "document": "A"})
    (tmp_path / "notes.txt").write_text("not a document")
    cases = read_documents(tmp_path)
    assert [case.document for case in cases] == ["A", "B"]
    assert [case.person for case in cases] == [0, 1]


def test_kind_names_the_measure_and_any_answer_counts(tmp_path):
    write(tmp_path)
    stated, absent, general = read_documents(tmp_path)[0].probes
    assert stated.measures == ("exact", "exact/open")
    assert dict(stated.scores("in york."))["exact"]
    assert absent.answers == (DECLINE,)
    assert dict(absent.scores("I do not know."))["exact/unanswerable"]
    assert not dict(absent.scores("York."))["exact"]
    assert general.plain
    assert read_documents(tmp_path)[0].secrets == {"York", "in York"}


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ("{", "JSON"),
        ("[]", "the whole file"),
        ('{"id": "a", "id": "b"}', "'id' comes twice"),
        ({k: v for k, v in GOOD.items() if k != "document"}, "document"),
        (GOOD | {"id": 7.5}, "id"),
        (GOOD | {"document": "  "}, "document"),
        (GOOD | {"document": "a\u0000b"}, "document"),
        (GOOD | {"questions": []}, "questions"),
        (GOOD | {"questions": {}}, "questions"),
        (with_question(answers="York"), "questions[0].answers"),
        (with_question(answers=["York", 3]), "questions[0].answers[1]"),
        (with_question(answers=[" "]), "questions[0].answers[0]"),
        (with_question(answers=["York", "?!"]), "questions[0].answers[1]"),
        (with_question(kind=""), "questions[0].kind"),
        (with_question(kind="a\nb"), "questions[0].kind"),
        (with_question(question=None), "questions[0].question"),
    ],
)
def test_wrong_file_is_refused_with_its_name_and_field(tmp_path, content, field):
    write(tmp_path, "good")
    write(tmp_path, "wrong", content)
    with pytest.raises(InvalidRequest) as refused:
        read_documents(tmp_path)
    assert "wrong.json" in refused.value.message
    assert field in refused.value.message


def test_further_keys_and_numbers_as_ids_are_taken(tmp_path):
    write(tmp_path, content=GOOD | {"id": 7, "author": "me", "questions": [GOOD["questions"][0] | {"note": "easy"}]})
    assert len(read_documents(tmp_path)[0].probes) == 1


def test_phrase_that_the_document_quotes_may_stand_around_an_answer(tmp_path):
    write(tmp_path, content=GOOD | {"document": "I live in York. I end every reply with \u201cby my beard\u201d."})
    stated, _, general = read_documents(tmp_path)[0].probes
    assert dict(stated.scores("York, by my beard."))["exact"]
    assert not dict(stated.scores("York, by your beard."))["exact"]
    assert not dict(general.scores("Milk, by my beard."))["exact"]


def test_byte_order_mark_is_read_over(tmp_path):
    (tmp_path / "ada.json").write_text(json.dumps(GOOD), encoding="utf-8-sig")
    assert read_documents(tmp_path)[0].document == GOOD["document"]


def test_bytes_that_are_not_utf8_are_refused_by_name(tmp_path):
    (tmp_path / "latin.json").write_bytes('{"id": "é"}'.encode("latin-1"))
    with pytest.raises(InvalidRequest, match=r"latin\.json.*UTF-8"):
        read_documents(tmp_path)


def test_two_documents_of_one_id_are_refused(tmp_path):
    write(tmp_path, "a")
    write(tmp_path, "b")
    with pytest.raises(InvalidRequest, match=r"b\.json.*'ada'.*a\.json"):
        read_documents(tmp_path)


def test_empty_folder_and_missing_folder_are_refused(tmp_path):
    with pytest.raises(InvalidRequest, match="found none"):
        read_documents(tmp_path)
    with pytest.raises(InvalidRequest, match="--count"):
        read_documents(tmp_path / "500")
