"""The commands of erasure and audit, over a miniature store, in the order in which an operator uses them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from hypernet.cli.program import program
from hypernet.errors import AdapterNotFound, InvalidRequest
from hypernet.settings import read_settings
from hypernet.storage import TenantScope
from hypernet.storage.opening import open_store
from tests.samples import sample_adapter


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path) -> Path:
    monkeypatch.setenv("HYPERNET_STORE_DIR", str(tmp_path / "store"))
    store = open_store(read_settings())
    for seed, user in enumerate(("ada", "bob", "ada")):
        store.put(TenantScope("local").user(user), sample_adapter(seed))
    store.close()
    return tmp_path


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(program(), [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_erase_writes_a_receipt_that_checks_without_the_store(folder, monkeypatch):
    shown = run("adapters", "erase", "ada", "--yes", "--receipt", folder / "receipt.json").stdout
    assert "keys destroyed" in shown
    key = json.loads(run("store", "verify-audit", "--json").stdout)["public_key"]
    (folder / "log.jsonl").write_text(run("store", "audit").stdout)
    (folder / "store").rename(folder / "gone")

    checked = run(
        "store", "verify-receipt", folder / "receipt.json", "--key", key, "--log", folder / "log.jsonl", "--json"
    )
    assert checked.exit_code == 0
    found = json.loads(checked.stdout)
    assert (found["status"], found["objects"], found["compared"], found["in_log"]) == ("sound", 2, True, True)
    assert not (folder / "store").exists()

    (folder / "receipt.json").write_text((folder / "receipt.json").read_text().replace('"objects": 2', '"objects": 1'))
    changed = run("store", "verify-receipt", folder / "receipt.json")
    assert changed.exit_code == 1
    assert "not that of its line" in changed.stdout


def test_erase_gives_the_last_receipt_again(folder):
    first = json.loads(run("adapters", "erase", "ada", "--yes", "--json").stdout)
    assert json.loads(run("adapters", "erase", "ada", "--yes", "--json").stdout) == first
    with pytest.raises(AdapterNotFound):
        run("adapters", "erase", "nobody", "--yes")
    with pytest.raises(InvalidRequest, match="is erased, but the receipt cannot be written"):
        run("adapters", "erase", "bob", "--yes", "--receipt", folder / "no" / "folder")
    assert run("adapters", "erase", "bob", "--yes", "--receipt", folder / "bob.json").exit_code == 0
    assert (folder / "bob.json").exists()


def test_audit_prints_what_was_done_to_one_user(folder):
    run("adapters", "erase", "ada", "--yes")
    lines = [json.loads(line) for line in run("store", "audit", "--user", "ada").stdout.splitlines()]
    assert sorted(line["event"] for line in lines) == ["erase", "erased", "put", "put"]
    assert len(run("store", "audit").stdout.splitlines()) > len(lines)


def test_verify_audit_finds_what_is_missing_since_the_last_check(folder):
    anchor = folder / "anchor.json"
    assert run("store", "verify-audit", "--anchor", anchor).exit_code == 0
    before = anchor.read_text()
    run("adapters", "erase", "bob", "--yes")
    assert run("store", "verify-audit", "--anchor", anchor).exit_code == 0
    assert anchor.read_text() != before

    last = sorted((folder / "store" / "adapters" / "local" / ".audit").rglob("0*"))[-1]
    kept = anchor.read_text()
    last.unlink()
    found = run("store", "verify-audit", "--anchor", anchor, "--json")
    assert found.exit_code == 1
    assert any("at the last check" in problem for problem in json.loads(found.stdout)["problems"])
    assert anchor.read_text() == kept
    anchor.write_text("[]")
    with pytest.raises(InvalidRequest, match="not what an earlier check wrote"):
        run("store", "verify-audit", "--anchor", anchor)


def test_verify_receipt_refuses_what_is_none(folder):
    (folder / "other.json").write_text("{}")
    with pytest.raises(InvalidRequest, match="not a receipt"):
        run("store", "verify-receipt", folder / "other.json")
    with pytest.raises(InvalidRequest, match="Cannot read"):
        run("store", "verify-receipt", folder / "none.json")


def test_erase_ends_what_was_cut_short_and_gives_its_own_receipt(folder):
    store, ada = open_store(read_settings()), TenantScope("local").user("ada")
    first = json.loads(run("adapters", "erase", "ada", "--yes", "--json").stdout)
    store.put(ada, sample_adapter(7))
    with pytest.raises(KeyboardInterrupt):
        store.erase(ada, drain=_die)
    assert any((folder / "store" / "keys" / "local" / "ada").iterdir())

    second = json.loads(run("adapters", "erase", "ada", "--yes", "--json").stdout)
    assert second["line"]["change"] != first["line"]["change"]
    assert not any((folder / "store" / name / "local" / "ada").exists() for name in ("adapters", "keys"))


def _die() -> None:
    raise KeyboardInterrupt


def test_erase_takes_what_can_no_longer_be_read(folder):
    (folder / "store" / "adapters" / "local" / "ada" / "pointer").write_bytes(b"rotten")
    assert json.loads(run("adapters", "erase", "ada", "--yes", "--json").stdout)["line"]["objects"] == 2


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff", b'{"line": 1e999}', b'["\\ud800"]'])
def test_verify_receipt_survives_what_is_none(folder, content):
    (folder / "receipt.json").write_bytes(content)
    with pytest.raises(InvalidRequest, match="not a receipt"):
        run("store", "verify-receipt", folder / "receipt.json", "--json")


def test_verify_audit_says_whether_there_was_an_earlier_check(folder):
    anchor = folder / "anchor.json"
    assert [
        json.loads(run("store", "verify-audit", "--anchor", anchor, "--json").stdout)["compared"] for _ in range(2)
    ] == [False, True]
