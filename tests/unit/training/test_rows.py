"""Rows of a researcher's own: what is read, what is refused and where the message points."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypernet.models.miniature import byte_tokenizer
from training.chat_format import ChatEncoder, Turn
from training.public_data.rows import SETS
from training.rows import JsonLines, RowsInvalid, check_row, open_rows, write_rows
from training.rows_data import RowStore, side
from training.template_encoder import TemplateEncoder, encoder_for

TALK = [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": "Ada."}]


def row(**more):
    return {"document": "My name is Ada.", "conversation": TALK, **more}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], "expected an object"),
        ({"conversation": TALK}, "expected text in 'document', got nothing"),
        (row(document=" "), "got blank text"),
        (row(document=3), "got int"),
        (row(document="\ud800"), "surrogate"),
        (row(conversation=[]), "list of turns"),
        (row(conversation="hello"), "got str"),
        (row(conversation=TALK[:1]), "ends in a reply"),
        (row(conversation=TALK[1:]), "turn 1: expected the role 'user'"),
        (row(conversation=[*TALK, TALK[1]]), "turn 3: expected the role 'user'"),
        (row(conversation=[{"role": "user"}]), "turn 1: expected an object with 'role' and 'content'"),
        (row(conversation=[{**TALK[0], "content": ""}, TALK[1]]), "turn 1: expected text in 'content'"),
        (row(rejcted="x"), "unknown column 'rejcted'"),
        (row(rejected=None), "expected text in 'rejected'"),
    ],
)
def test_row_that_is_none_is_refused_with_its_file_line_and_column(tmp_path, values, expected):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row()) + "\n\n" + json.dumps(values) + "\n")
    with pytest.raises(RowsInvalid) as error:
        list(open_rows(path).places())
    assert str(error.value).startswith(f"{path}, line 3")
    assert expected in str(error.value)


def test_line_that_is_no_json_is_refused_with_its_number(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row()) + "\n{")
    with pytest.raises(RowsInvalid, match=r"rows.jsonl, line 2: expected one JSON object"):
        list(open_rows(path).places())


def test_file_of_another_kind_or_that_is_missing_is_refused(tmp_path):
    with pytest.raises(RowsInvalid, match=r"\.jsonl or \.parquet"):
        open_rows(tmp_path / "rows.csv")
    with pytest.raises(FileNotFoundError, match="no file there"):
        open_rows(tmp_path / "rows.jsonl")


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_written_rows_are_read_back_by_place(tmp_path, suffix):
    values = [row(document=f"Döcument {i}", kind="a" if i % 2 else "b") for i in range(5)]
    values[3]["rejected"] = "Bob."
    path = tmp_path / f"rows{suffix}"
    assert write_rows(path, iter(values)) == 5
    file = open_rows(path)
    places = list(file.places())
    assert [found for _, found in places] == [check_row(one, "") for one in values]
    assert all(file.read(place) == found for place, found in reversed(places))


def test_parquet_row_that_is_none_is_refused_with_its_number(tmp_path):
    import pyarrow
    from pyarrow import parquet

    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.Table.from_pylist([row(), row(document="")]), path)
    with pytest.raises(RowsInvalid, match=r"rows.parquet, row 2: expected text in 'document'"):
        list(open_rows(path).places())


def test_documents_are_split_by_id_and_their_rows_stay_together(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_rows(path, [row(document_id=f"person {i // 3}", document=f"About {i // 3}.") for i in range(300)])
    store = RowStore([path], validation_share=0.2, test_share=0.1, check=len)
    ids = {of: set(documents) for of, documents in store.documents.items()}
    assert len(set.union(*ids.values())) == 100 == sum(map(len, ids.values()))
    assert 5 <= len(ids["validation"]) <= 35
    assert all(len(places) == 3 for documents in store.documents.values() for places in documents.values())
    place = store.documents["test"][min(ids["test"])][0]
    assert store.read(place).document_id == min(ids["test"])


def test_document_that_cannot_be_used_is_refused_with_its_file_and_id_before_training(tmp_path):
    rows = [row(document="short", document_id="a"), row(document="far too long", document_id="b")]
    path = tmp_path / "rows.jsonl"
    write_rows(path, rows)

    def check(text):
        if len(text) > 5:
            raise RowsInvalid("it takes 3 chunks.")

    with pytest.raises(RowsInvalid, match=r"rows\.jsonl, document 'b': it takes 3 chunks"):
        RowStore([path], validation_share=0, test_share=0, check=check)


def test_file_that_only_says_that_it_is_parquet_is_refused(tmp_path):
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(RowsInvalid, match=r"rows\.parquet is no Parquet file"):
        list(open_rows(path).places())


def test_two_documents_of_one_id_are_refused(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_rows(path, [row(document_id="ada"), row(document_id="ada", document="My name is Bob.")])
    with pytest.raises(RowsInvalid, match="have the id 'ada'"):
        RowStore([path], validation_share=0, test_share=0, check=len)


@settings(max_examples=50)
@given(st.text(), st.floats(0, 0.5), st.floats(0, 0.4))
def test_growing_validation_moves_no_document_to_or_from_test(document_id, validation, test):
    before = side(document_id, validation_share=0.0, test_share=test)
    after = side(document_id, validation_share=validation, test_share=test)
    assert (before == "test") == (after == "test")


def test_digest_is_that_of_the_contents_in_order(tmp_path):
    for name in ("a", "b"):
        write_rows(tmp_path / f"{name}.jsonl", [row(document_id=name)])

    def digest(*names):
        return RowStore([tmp_path / f"{n}.jsonl" for n in names], validation_share=0, test_share=0, check=len).digest

    assert digest("a", "b") == digest("a", "b") != digest("b", "a")


def write_public_data(folder: Path) -> None:
    """A few made-up records of each data set, as its authors lay it out."""
    files = {
        "synthetic_persona_chat/valid.csv": (
            "user 1 personas,user 2 personas,Best Generated Conversation\n"
            '"I bake.","I fly.","User 1: Hi!\nUser 2: Hello, I fly.\nUser 1: I bake.\nUser 2: Nice."\n'
        ),
        "fairytale_qa/questions/train/fox-questions.csv": (
            "question_id,cor_section,question,ex-or-im1,answer1\n"
            '1,1,Who ran?,explicit,the fox\n2,"1,2",Who slept?,implicit,the hen\n'
        ),
        "fairytale_qa/section-stories/train/fox-story.csv": "section,text\n1,The fox ran.\n2,The hen slept.\n",
        "evals_persona/kind.jsonl": "".join(
            json.dumps({"statement": f"Statement {i}.", "answer_matching_behavior": " Yes" if i % 2 else " No"}) + "\n"
            for i in range(60)
        ),
        "light_characters/characters.json": json.dumps(
            [
                {"id": 1, "name": "fox", "persona": ["I run fast. I like hens."], "description": ""},
                {"id": 2, "name": "hen", "persona": ["I sleep all day."], "description": ""},
            ]
        ),
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


@pytest.mark.parametrize("name", sorted(SETS))
def test_public_data_set_becomes_rows(tmp_path, name):
    from training.cli import main

    write_public_data(tmp_path)
    output = tmp_path / "rows" / f"{name}.jsonl"
    main(["rows", "--set", name, "--data-dir", str(tmp_path), "--output", str(output)])
    found = [one for _, one in JsonLines(output).places()]
    assert found
    assert (name in ("evals_persona", "light_characters")) == all(one.rejected for one in found)
    RowStore([output], validation_share=0.1, test_share=0.1, check=len)


def test_missing_data_set_says_where_to_get_it(tmp_path):
    from training.cli import main

    with pytest.raises(SystemExit, match="facebookresearch/LIGHT"):
        main(["rows", "--set", "light_characters", "--data-dir", str(tmp_path), "--output", str(tmp_path / "x.jsonl")])


def test_rows_of_any_chat_template_are_those_of_the_encoder_that_knows_ours():
    tokenizer = byte_tokenizer()
    talk = [
        Turn(role="system", content="I am Ada."),
        Turn(role="user", content="Who?"),
        Turn(role="assistant", content="Ada."),
        Turn(role="user", content="Sure?"),
        Turn(role="assistant", content="Yes."),
    ]
    assert TemplateEncoder(tokenizer).rows([talk, talk[:3]]) == ChatEncoder(tokenizer).rows([talk, talk[:3]])
    assert isinstance(encoder_for(tokenizer), TemplateEncoder | ChatEncoder)


def test_documents_of_one_person_are_on_one_side_of_the_split(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_rows(
        path,
        [
            row(document_id=f"{person} {number}", document=f"I am {person}, note {number}.", person=f"person {person}")
            for person in range(40)
            for number in range(3)
        ],
    )
    store = RowStore([path], validation_share=0.3, test_share=0.3, check=len)
    sides = [{document_id.split()[0] for document_id in documents} for documents in store.documents.values()]
    assert all(sides)
    assert sum(map(len, sides)) == 40
