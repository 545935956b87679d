"""The demo as `make demo` runs it, over a miniature checkpoint."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.miniature import NAME, write_checkpoint

pytestmark = pytest.mark.e2e

REPOSITORY = Path(__file__).parents[2]


def run_demo(checkpoints: Path) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HYPERNET_", "RAY_"))}
    return subprocess.run(
        [sys.executable, "-m", "examples.demo"],
        cwd=REPOSITORY,
        env=environment | {"HYPERNET_CHECKPOINT": NAME, "HYPERNET_CHECKPOINTS": str(checkpoints)},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def test_demo_prints_one_table_and_the_times_and_exits_0(tmp_path):
    write_checkpoint(tmp_path, max_document_tokens=900)

    shown = run_demo(tmp_path)

    assert shown.returncode == 0, shown.stdout + shown.stderr
    for text in (
        "Where do you live?",
        "base model alone",
        "ada's adapter",
        "bruno's adapter",
        "what the profile says",
        "Nagy Shipyard",
        "encode",
        "request to first token",
    ):
        assert text in shown.stdout


def test_demo_exits_1_where_an_adapter_changes_nothing(tmp_path):
    write_checkpoint(tmp_path, max_document_tokens=900, live=False)

    shown = run_demo(tmp_path)

    assert shown.returncode == 1, shown.stdout + shown.stderr
    assert "did not change" in shown.stdout


def test_demo_exits_1_with_the_services_message_where_it_cannot_start(tmp_path):
    shown = run_demo(tmp_path)

    assert shown.returncode == 1
    assert "checkpoint" in shown.stderr
    assert "Traceback" not in shown.stderr
