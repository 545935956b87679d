"""Real conversation: read as it is published, split by persona, and missing with a word on where to get it."""

import csv
from pathlib import Path

import pytest

from training.public_data.folder import data_folder
from training.public_data.persona_chat import read_conversations

DIALOGUE = "User 1: Hi!\nUser 2: Hello: it is me.\n\nUser 1: Bye.\nUser 2: Goodbye."


def write(folder: Path, rows):
    path = folder / "synthetic_persona_chat" / "valid.csv"
    path.parent.mkdir(parents=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["user 1 personas", "user 2 personas", "Best Generated Conversation"])
        writer.writerows(rows)
    return folder


def both(folder):
    return [read_conversations(folder, held_out=side) for side in (False, True)]


def test_dialogue_is_told_from_either_side_with_the_teller_as_the_assistant(tmp_path):
    write(tmp_path, [["I am one.", "I am two.", DIALOGUE]])
    ((told_by_one, told_by_two),) = [side for side in both(tmp_path) if side]
    assert [(turn.role, turn.content) for turn in told_by_one] == [
        ("system", "I am one."),
        ("user", "Hello: it is me."),
        ("assistant", "Bye."),
        ("user", "Goodbye."),
    ]
    assert [(turn.role, turn.content) for turn in told_by_two] == [
        ("system", "I am two."),
        ("user", "Hi!"),
        ("assistant", "Hello: it is me."),
        ("user", "Bye."),
        ("assistant", "Goodbye."),
    ]


def test_held_out_persona_takes_part_in_no_training_dialogue(tmp_path):
    personas = [f"I am {n}." for n in range(40)]
    alone = write(tmp_path / "alone", [[persona, persona, DIALOGUE] for persona in personas])
    kept_back = {talk[0].content for talk in read_conversations(alone, held_out=True)}
    assert kept_back
    # Named in the dialogue too, so that both speakers of a training dialogue can be told.
    rows = [[a, b, f"User 1: {a}\nUser 2: {b}"] for a in personas for b in personas]
    training, held_out = both(write(tmp_path / "mixed", rows))
    assert len(held_out) < len(rows)
    assert training
    assert not {turn.content for talk in training for turn in talk} & kept_back


def test_persona_whose_lines_stand_in_training_in_another_order_is_not_held_out(tmp_path):
    names = [f"I am {n}.\nI like {n}." for n in range(60)]
    turned = ["\n".join(reversed(name.splitlines())) for name in names]
    alone = write(tmp_path / "alone", [[name, name, DIALOGUE] for name in names])
    kept_back = {talk[0].content for talk in read_conversations(alone, held_out=True)}
    assert kept_back
    both_ways = write(tmp_path / "both", [[name, name, DIALOGUE] for name in (*names, *turned)])
    trained = {frozenset(talk[0].content.splitlines()) for talk in read_conversations(both_ways, held_out=False)}
    held_out = {frozenset(talk[0].content.splitlines()) for talk in read_conversations(both_ways, held_out=True)}
    assert trained & {frozenset(persona.splitlines()) for persona in kept_back}  # hashes differ, so some are trained on
    assert not trained & held_out


def test_missing_file_says_where_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="google-research-datasets/Synthetic-Persona-Chat"):
        read_conversations(tmp_path, held_out=False)


def test_folder_is_the_given_one_or_the_variables(tmp_path, monkeypatch):
    monkeypatch.setenv("HYPERNET_DATA_DIR", str(tmp_path))
    assert data_folder(None) == tmp_path
    assert data_folder(tmp_path / "other") == tmp_path / "other"
    monkeypatch.delenv("HYPERNET_DATA_DIR")
    with pytest.raises(FileNotFoundError, match="public_data: false"):
        data_folder(None)
