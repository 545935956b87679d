"""The guide's last step: a hypernetwork of one's own, beside a base model, behind the real service."""

import re
import shlex
import shutil
from pathlib import Path

import httpx
import pytest

from tests.e2e.test_serve import ready, serving
from tests.miniature import write_checkpoint
from tests.running import ACME

pytestmark = pytest.mark.e2e

GUIDE = (Path(__file__).parents[2] / "docs" / "train-your-own.md").read_text()


def test_guide_serves_a_hypernetwork_of_ones_own(tmp_path):
    written = write_checkpoint(tmp_path / "checkpoints", name="tiny")
    shutil.move(written / "perceiver", written / "people")
    command = re.search(r"^hypernet serve (.*)$", GUIDE, re.MULTILINE).group(1)
    path, document = re.search(r"-X PUT localhost:8000(\S+) .* --data-binary \"(.*)\"", GUIDE).groups()
    (model,) = re.findall(r"the model id `([^`]+)`", GUIDE)
    options = shlex.split(command)
    options[options.index("--port") + 1] = "0"
    with serving(tmp_path, *options) as process:
        headers = {"Authorization": f"Bearer {ACME}", "Content-Type": "text/plain"}
        with httpx.Client(base_url=ready(process), headers=headers, timeout=60) as http:
            assert http.put(path, content=document).status_code == 201
            asked = {"model": model, "messages": [{"role": "user", "content": "Who are you?"}], "max_tokens": 8}
            answered = http.post("/v1/chat/completions", json=asked)
            assert answered.status_code == 200, answered.text
