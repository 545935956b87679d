"""docs/train-your-own.md does what it says: every command of it is run, in order, on a miniature."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import hypernet
from hypernet.cli.program import program
from training.cli import main

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs" / "train-your-own.md").read_text()

pytestmark = [
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:.*:UserWarning:lightning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*"),
    # Twelve steps make no hypernetwork, and the guard says so.
    pytest.mark.filterwarnings("ignore:Signs of collapse"),
    # Somebody may be editing while this runs.
    pytest.mark.filterwarnings("ignore:The training code changed"),
]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


COMMANDS = [line for block in blocks("bash") for line in block.splitlines()]
SERVE = "hypernet serve"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A clone in miniature: the shipped configurations and base model, and the guide's files."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    # A copy, so that a base model that is released meanwhile is none of this test's business.
    shutil.copytree(ROOT / "checkpoints" / "tiny" / "base", tmp_path / "checkpoints" / "tiny" / "base")
    (tmp_path / "data" / "light_characters").mkdir(parents=True)
    (tmp_path / "data" / "light_characters" / "characters.json").write_text(
        '[{"id": 1, "name": "fox", "persona": ["I run fast. I like hens."]},'
        ' {"id": 2, "name": "hen", "persona": ["I sleep all day. I lay eggs."]}]'
    )
    for block in blocks("python"):
        name = re.match(r"# (\w+\.py)\n", block).group(1)
        (tmp_path / name).write_text(block)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("HYPERNET_CHECKPOINTS", str(tmp_path / "checkpoints"))
    monkeypatch.setenv("HYPERNET_STORE_DIR", str(tmp_path / "store"))
    return tmp_path


def run(command: str, monkeypatch) -> None:
    """The command in this process, where starting one of its own would cost seconds of imports and change nothing."""
    words = shlex.split(command)
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        monkeypatch.setenv(name, value)
    if words[:3] == ["python", "-m", "training"]:
        if any(word.endswith(".help") for word in words):
            with pytest.raises(SystemExit, match="0"):
                main(words[3:])
        else:
            main(words[3:])
    elif words[0] == "python":
        subprocess.run([sys.executable, *words[1:]], check=True)
    elif words[0] == "hypernet":
        program()(words[1:], standalone_mode=False)
    else:
        raise AssertionError(f"The guide has a command that this test cannot run: {command}")


def test_every_command_of_the_guide_runs_and_its_hypernetworks_are_loaded_by_name(folder, monkeypatch, capsys):
    assert len(COMMANDS) > 12
    for command in COMMANDS:
        if not command.startswith(SERVE):
            run(command, monkeypatch)
    assert "exact/own" in capsys.readouterr().out
    logs = folder / "runs" / "miniature"
    assert list(logs.glob("*/metrics.csv"))
    assert list(logs.glob("*/events.out.tfevents.*"))
    for name, architecture in (("tiny/people", "perceiver"), ("tiny/pooled", "pooled")):
        generator = hypernet.load(name)
        assert generator.manifest.architecture == architecture
        assert generator.generate((folder / "ada.md").read_text()).adapter.rank >= 8
        generator.close()
    for adapter in ("adapter", "pooled-adapter"):
        assert (folder / adapter / "adapter_config.json").is_file()
    assert (folder / "checkpoints" / "miniature" / "base" / "model.safetensors").is_file()


def test_guide_serves_with_options_that_the_program_has():
    from typer.testing import CliRunner

    (command,) = (line for line in COMMANDS if line.startswith(SERVE))
    shown = CliRunner().invoke(program(), ["serve", "--help"], env={"COLUMNS": "200"}).output
    options = [word for word in shlex.split(command) if word.startswith("--")]
    assert options
    assert all(option in shown for option in options)


def test_guide_lists_the_columns_that_rows_have():
    from training.rows import COLUMNS

    assert tuple(
        re.findall(r"^\| `(document|conversation|document_id|person|rejected|kind)` \|", GUIDE, re.MULTILINE)
    ) == (COLUMNS)
