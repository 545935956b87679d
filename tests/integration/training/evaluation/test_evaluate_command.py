"""The command: it prints what it promises and says what was expected."""

import json

import pytest
from typer.testing import CliRunner

import hypernet
from tests.miniature import NAME
from training.evaluation.measures import ARMS, is_comparison


def command(root, monkeypatch, *options):
    from hypernet.cli.program import program

    monkeypatch.setenv("HYPERNET_CHECKPOINTS", str(root))
    return CliRunner().invoke(program(), ["evaluate", "--checkpoint", NAME, *options])


def test_command_prints_one_json_object(root, monkeypatch):
    run = command(root, monkeypatch, "--count", "2", "--json")
    assert run.exit_code == 0, run.output
    printed = json.loads(run.stdout)
    assert set(printed) == {"suite", "checkpoint", "measures"}
    assert (printed["suite"], printed["checkpoint"]) == ("profiles", NAME)
    assert set(printed["measures"][0]) == {"name", "arm", "value", "count", "low", "high"}
    assert {measure["arm"] for measure in printed["measures"]} == set(ARMS)


def test_command_measures_documents_of_ones_own_and_writes_a_report(root, monkeypatch, tmp_path):
    for name in ("ada", "bela"):
        asked = {"question": "Where do you live?", "answers": [f"{name}town"], "kind": "a place"}
        document = {"id": name, "document": f"I live in {name}town.", "questions": [asked]}
        (tmp_path / f"{name}.json").write_text(json.dumps(document), encoding="utf-8")
    options = ["--checkpoint", NAME, "--documents", str(tmp_path), "--report", str(tmp_path / "out"), "--json"]
    run = command(root, monkeypatch, *options)
    assert run.exit_code == 0, run.output
    results = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(results) == 2  # the checkpoint was named twice
    names = {measure["name"] for measure in results[0]["measures"]}
    assert {name for name in names if not is_comparison(name)} == {"exact", "exact/a place"}
    assert "gap/none/exact/a place" in names
    assert results[0]["suite"] == "documents"
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "exact/a place" in page
    assert "Side by side" in page


def test_command_prints_a_table_for_people(root, monkeypatch):
    run = command(root, monkeypatch, "--count", "2")
    assert run.exit_code == 0, run.output
    assert "exact/unseen-phrasing" in run.stdout
    assert "of prompt" in run.stdout
    assert "gap/none" not in run.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--suite", "profile"], "profiles, needle, interference, long, conversation, personality, frontier"),
        (["--suite", "needle", "--documents", "x"], "one of the two"),
        (["--documents", "500"], "--count"),
    ],
)
def test_command_says_what_was_expected(root, monkeypatch, options, said):
    run = command(root, monkeypatch, *options)
    assert isinstance(run.exception, hypernet.errors.InvalidRequest)
    assert said in run.exception.message


@pytest.mark.parametrize("suite", ["conversation", "personality"])
def test_suite_that_needs_public_data_says_so(root, monkeypatch, suite):
    monkeypatch.delenv("HYPERNET_DATA_DIR", raising=False)
    run = command(root, monkeypatch, "--suite", suite, "--count", "2")
    assert isinstance(run.exception, hypernet.errors.InvalidRequest)
    assert "HYPERNET_DATA_DIR" in run.exception.message
    assert suite in run.exception.message
