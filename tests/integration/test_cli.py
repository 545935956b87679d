"""The `hypernet` program over a miniature checkpoint and a store of its own."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from hypernet.adapters import Adapter
from hypernet.cli import program as program_module
from hypernet.cli.program import main, program
from hypernet.errors import HypernetError
from tests.miniature import NAME, write_checkpoint

ADA = "My name is Ada and I keep bees."


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("checkpoints")
    write_checkpoint(root)
    return root


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, checkpoints, tmp_path) -> Path:
    monkeypatch.setenv("HYPERNET_CHECKPOINTS", str(checkpoints))
    monkeypatch.setenv("HYPERNET_CHECKPOINT", NAME)
    monkeypatch.setenv("HYPERNET_STORE_DIR", str(tmp_path / "store"))
    (tmp_path / "ada.md").write_text(ADA)
    return tmp_path


def run(*arguments: object, stdin: str | None = None) -> Result:
    result = CliRunner().invoke(program(), [str(argument) for argument in arguments], input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def as_json(*arguments: object, stdin: str | None = None):
    result = run(*arguments, "--json", stdin=stdin)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_generate_stores_the_adapter_and_says_what_it_is(surroundings):
    report = as_json("generate", surroundings / "ada.md", "--user", "ada")

    assert (report["user"], report["version"], report["document_tokens"]) == ("ada", 1, len(ADA) + 2)
    assert set(report["timings_ms"]) == {"encode", "generate", "serialise", "store"}
    (listed,) = as_json("adapters", "list")
    assert (listed["user"], listed["digest"], listed["rank"]) == ("ada", report["digest"], report["rank"])


def test_generate_for_people_shows_the_whole_digest(surroundings):
    shown = run("generate", surroundings / "ada.md", "--user", "ada").stdout
    (listed,) = as_json("adapters", "list")

    assert listed["digest"] in shown
    assert all(word in shown for word in ("rank", "size_bytes", "encode ms", "generate ms", "serialise ms", "store ms"))


def test_generate_writes_a_folder_and_reads_standard_input(surroundings):
    report = as_json("generate", "-", "--out", surroundings / "adapter", stdin=ADA)

    assert Adapter.load(surroundings / "adapter").digest == report["digest"]
    assert as_json("adapters", "list") == []


def test_generate_reads_several_documents_of_one_person(surroundings):
    (surroundings / "more.md").write_text("I live by the river.")
    one = as_json("generate", surroundings / "ada.md", "--user", "ada")
    both = as_json("generate", surroundings / "ada.md", surroundings / "more.md", "--user", "ada")
    turned = as_json("generate", surroundings / "more.md", "-", "--user", "ada", stdin=ADA)

    assert both["digest"] == turned["digest"] != one["digest"]
    assert (one["chunks"], both["chunks"]) == (1, 2)
    assert both["rank"] > one["rank"]


def test_generate_takes_a_strength(surroundings):
    reports = [
        as_json("generate", surroundings / "ada.md", "--out", surroundings / "out", "--strength", strength)
        for strength in (0, 1.5)
    ]

    assert [report["strength"] for report in reports] == [0, 1.5]
    assert Adapter.load(surroundings / "out").provenance.options["strength"] == 1.5
    assert run("generate", surroundings / "ada.md", "--user", "ada", "--strength", "2.1").exit_code == 2


def test_generate_refuses_standard_input_twice(surroundings):
    with pytest.raises(HypernetError, match="name it once"):
        run("generate", "-", "-", "--user", "ada", stdin=ADA)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty_document"),
        (b"\xff", "document_not_utf8"),
        (b"x" * 500, "document_too_long"),
        (None, "invalid_request"),
    ],
)
def test_generate_refuses_what_it_cannot_read_and_stores_nothing(surroundings, content, code):
    document = surroundings / "document.md"
    if content is not None:
        document.write_bytes(content)

    with pytest.raises(HypernetError) as caught:
        run("generate", document, "--user", "ada")

    assert caught.value.code == code
    assert as_json("adapters", "list") == []


@pytest.mark.parametrize("user", ["..", "a/b", "a\0b", "x" * 10_000, "\ud800"])
def test_generate_refuses_a_bad_user_name(surroundings, user):
    with pytest.raises(HypernetError) as caught:
        run("generate", surroundings / "ada.md", "--user", user)

    assert caught.value.code == "invalid_name"


def test_generate_needs_somewhere_to_put_the_adapter(surroundings):
    with pytest.raises(HypernetError, match="--user"):
        run("generate", surroundings / "ada.md")


def test_adapters_show_and_export_every_version(surroundings):
    digests = [as_json("generate", "-", "--user", "ada", stdin=text)["digest"] for text in (ADA, "I am another.")]
    shown = as_json("adapters", "show", "ada")
    as_json("adapters", "export", "ada", "--out", surroundings / "new")
    as_json("adapters", "export", "ada", "--out", surroundings / "old.zip", "--version", 1)

    assert [(entry["version"], entry["digest"]) for entry in shown["versions"]] == [(1, digests[0]), (2, digests[1])]
    assert Adapter.load(surroundings / "new").digest == digests[1]
    zipfile.ZipFile(surroundings / "old.zip").extractall(surroundings / "old")
    assert Adapter.load(surroundings / "old").digest == digests[0]
    assert digests[1] in run("adapters", "show", "ada").stdout


def test_adapters_erase_asks_first(surroundings):
    as_json("generate", "-", "--user", "ada", stdin=ADA)

    assert run("adapters", "erase", "ada", stdin="n\n").exit_code == 1
    assert len(as_json("adapters", "list")) == 1
    assert run("adapters", "erase", "ada", stdin="y\n").exit_code == 0
    assert as_json("adapters", "list") == []
    with pytest.raises(HypernetError, match="No such adapter"):
        run("adapters", "erase", "nobody", "--yes")


def test_adapters_list_shows_names_as_they_are(surroundings):
    as_json("generate", "-", "--user", "[red]ada", stdin=ADA)

    assert "[red]ada" in run("adapters", "list").stdout


def test_chat_answers_each_line_of_a_pipe_as_the_user_until_quit(surroundings):
    as_json("generate", "-", "--user", "ada", stdin=ADA)
    lines = "Hello\n\nWho are you?\n/quit\nNobody hears this\n"
    bare = run("chat", "--max-tokens", 6, stdin=lines).stdout
    adapted = run("chat", "--user", "ada", "--max-tokens", 6, stdin=lines).stdout

    assert bare != adapted
    assert adapted == run("chat", "--user", "ada", "--version", 1, "--max-tokens", 6, stdin=lines).stdout
    assert ">" not in adapted.replace("<|", "")


def test_chat_forgets_its_oldest_turns_rather_than_stop(surroundings):
    turns = "".join(f"This is turn {number}, and it goes on for a while, as turns do.\n" for number in range(30))

    assert run("chat", "--max-tokens", 4, stdin=turns).exit_code == 0


def test_chat_with_an_unknown_user_is_an_error_and_not_the_base_model(surroundings):
    with pytest.raises(HypernetError, match="No such adapter"):
        run("chat", "--user", "nobody", stdin="Hi\n")


def test_doctor_finds_the_checkpoint_and_that_it_matches(surroundings):
    report = as_json("doctor")

    assert [(entry["name"], entry["status"]) for entry in report["checkpoints"]] == [(NAME, "ok")]
    assert report["problems"] == []
    assert report["packages"]["torch"]
    assert "all well" in run("doctor").stdout


def test_doctor_knows_the_default_architecture_by_its_longer_name(surroundings, monkeypatch):
    monkeypatch.setenv("HYPERNET_CHECKPOINT", f"{NAME}/perceiver")
    assert as_json("doctor")["problems"] == []


@pytest.mark.parametrize("damage", ["other base", "no manifest", "no weights", "other name"])
def test_doctor_says_what_is_wrong_and_exits_1(monkeypatch, tmp_path, damage):
    folder = write_checkpoint(tmp_path / "checkpoints", name="broken" if damage == "other name" else NAME)
    monkeypatch.setenv("HYPERNET_CHECKPOINTS", str(tmp_path / "checkpoints"))
    if damage == "other base":
        write_checkpoint(tmp_path / "others", seed=1)
        (tmp_path / "others" / NAME / "base").rename(tmp_path / "checkpoints" / "base")
        (folder / "base").rename(tmp_path / "old")
        (tmp_path / "checkpoints" / "base").rename(folder / "base")
    elif damage == "no manifest":
        (folder / "perceiver" / "manifest.json").unlink()
    elif damage == "no weights":
        (folder / "base" / "model.safetensors").unlink()

    result = run("doctor", "--json")

    assert result.exit_code == 1
    assert json.loads(result.stdout)["problems"]
    assert "problem" in run("doctor").stdout


def test_store_sweeps_up_what_a_killed_writer_left_and_wraps_keys_anew(surroundings):
    as_json("generate", surroundings / "ada.md", "--user", "ada")
    objects = surroundings / "store/adapters/local/ada/objects"
    (objects / ("0" * 32)).write_bytes(b"left over")
    assert as_json("store", "sweep")["removed"] == 1
    assert as_json("store", "sweep")["removed"] == 0
    assert len(list(objects.iterdir())) == 1

    assert as_json("store", "rotate") == {"tenant_keys_wrapped": 0, "user_keys_wrapped": 1}
    assert run("adapters", "export", "ada", "--out", surroundings / "out").exit_code == 0


def test_store_keygen_writes_keys_once(surroundings, monkeypatch):
    file = surroundings / "keys.json"
    assert as_json("store", "keygen", file)["root keys"] == str(file)
    written = file.read_text()
    with pytest.raises(HypernetError, match="there already"):
        run("store", "keygen", file)
    assert file.read_text() == written

    monkeypatch.setenv("HYPERNET_ROOT_KEYS_FILE", str(file))
    as_json("generate", surroundings / "ada.md", "--user", "ada")
    assert not (surroundings / "store/root-key.json").exists()


def exits(monkeypatch, *arguments: str) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["hypernet", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code


def test_errors_are_one_line_without_a_traceback_and_exit_2(monkeypatch, capsys):
    assert exits(monkeypatch, "adapters", "show", "nobody") == 2

    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "error: No such adapter.\n")


def test_errors_are_json_where_json_was_asked_for(monkeypatch, capsys):
    assert exits(monkeypatch, "adapters", "show", "nobody", "--json") == 2

    assert json.loads(capsys.readouterr().err) == {
        "error": {"code": "adapter_not_found", "message": "No such adapter."}
    }


def test_errors_on_our_side_exit_1(monkeypatch, capsys, tmp_path):
    folder = write_checkpoint(tmp_path / "checkpoints")
    (folder / "perceiver" / "hypernetwork.safetensors").write_bytes(b"cut short")
    monkeypatch.setenv("HYPERNET_CHECKPOINTS", str(tmp_path / "checkpoints"))

    assert exits(monkeypatch, "generate", str(tmp_path / "ada.md"), "--user", "ada") == 1
    assert "hypernetwork.safetensors" in capsys.readouterr().err


def test_unknown_variable_stops_every_command_by_name(monkeypatch, capsys):
    monkeypatch.setenv("HYPERNET_PROT", "1")

    assert exits(monkeypatch, "doctor") == 2
    assert "HYPERNET_PROT" in capsys.readouterr().err


def test_command_of_another_package_that_cannot_be_imported_says_so(monkeypatch, capsys):
    from importlib.metadata import EntryPoint

    broken = EntryPoint(name="broken", value="nowhere.at_all:command", group=program_module.COMMANDS_GROUP)
    monkeypatch.setattr(program_module, "entry_points", lambda group: [broken])

    assert exits(monkeypatch, "broken") == 2
    assert "nowhere" in capsys.readouterr().err
    assert exits(monkeypatch, "--help") == 0


def test_help_imports_nothing_slow():
    slow = ("torch", "transformers", "peft", "lightning", "ray", "fastapi", "pydantic", "numpy")
    script = f"""
import sys
from hypernet.cli.program import main
sys.argv = ["hypernet", "--help"]
try:
    main()
finally:
    assert not set(sys.modules) & set({slow!r}), set(sys.modules) & set({slow!r})
"""
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert shown.returncode == 0, shown.stderr
    commands = ("generate", "chat", "serve", "adapters", "evaluate", "doctor")
    assert all(command in shown.stdout for command in commands)
