"""The evaluation: every arm is what it says, every figure has its count, the command prints what it promises."""

import json
from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

import hypernet
from hypernet.adapters import Adapter, LoraPair
from tests.miniature import NAME, write_checkpoint
from training.evaluation.arms import ARMS, replies
from training.evaluation.evaluate import evaluate
from training.evaluation.mean_adapter import mean_adapter
from training.evaluation.suites import Case, profiles
from training.world.questions import ask_general


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    write_checkpoint(folder, max_document_tokens=1024)
    return folder


@pytest.fixture(scope="module")
def generator(root):
    loaded = hypernet.load(NAME, root=root)
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def cases():
    from random import Random

    random = Random(0)
    return [
        Case(document=f"My name is {name}.", questions=tuple(ask_general(random) for _ in range(2)))
        for name in ("Ada", "Bela", "Cleo")
    ]


@pytest.fixture(scope="module")
def adapters(generator, cases):
    return [generator.generate(case.document).adapter for case in cases]


def said(generator, cases, adapters, arm):
    return [reply.text for reply in replies(generator, cases, adapters, arm)]


def test_arm_other_is_the_next_documents_adapter(generator, cases, adapters):
    rolled = [*adapters[1:], adapters[0]]
    assert said(generator, cases, adapters, "other") == said(generator, cases, rolled, "adapter")


def test_arm_none_does_not_depend_on_adapters_and_arm_adapter_does(generator, cases, adapters):
    rolled = [*adapters[1:], adapters[0]]
    assert said(generator, cases, adapters, "none") == said(generator, cases, rolled, "none")
    assert said(generator, cases, adapters, "adapter") != said(generator, cases, rolled, "adapter")
    assert said(generator, cases, adapters, "adapter") != said(generator, cases, adapters, "none")


def test_arm_prompt_reads_the_document(generator, cases, adapters):
    others = [replace(case, document="Nothing is known.") for case in cases]
    assert said(generator, cases, adapters, "prompt") != said(generator, others, adapters, "prompt")


def test_arm_mean_is_the_same_adapter_for_everybody(generator, cases, adapters):
    mean = mean_adapter(adapters)
    assert said(generator, cases, adapters, "mean") == said(generator, cases, list(reversed(adapters)), "mean")
    name = next(iter(mean.modules))
    updates = [a.folded().modules[name] for a in adapters]
    expected = torch.stack([pair.b @ pair.a for pair in updates]).mean(0)
    torch.testing.assert_close(mean.modules[name].b @ mean.modules[name].a, expected)


def test_mean_of_factors_would_not_be_the_mean_of_adapters(adapters):
    """The twin: averaging A and B one by one gives another update."""
    name = next(iter(adapters[0].modules))
    pairs = [a.folded().modules[name] for a in adapters]
    careless = LoraPair(a=torch.stack([p.a for p in pairs]).mean(0), b=torch.stack([p.b for p in pairs]).mean(0))
    mean = mean_adapter(adapters).modules[name]
    assert not torch.allclose(careless.b @ careless.a, mean.b @ mean.a, atol=1e-4)


def test_mean_adapter_can_be_stored(adapters):
    mean = mean_adapter(adapters)
    assert Adapter.from_canonical_bytes(mean.canonical_bytes()).digest == mean.digest


def test_profiles_are_the_same_every_time_and_unlike_each_other():
    assert profiles(6) == profiles(6)
    assert len({case.document for case in profiles(30)}) == 30


def test_every_figure_has_five_arms_and_an_interval(generator):
    result = evaluate(generator, suite="profiles", documents=3)
    names = {measure.name for measure in result.measures}
    assert {"exact", "exact/stated", "exact/unseen-phrasing", "exact/unanswerable", "exact/general"} <= names
    for name in names:
        measures = [result.share(name, arm) for arm in ARMS]
        assert all(measures)
        assert len({m.count for m in measures}) == 1
        assert all(0 <= m.low <= m.value <= m.high <= 1 for m in measures)


def test_command_prints_one_json_object(root, monkeypatch):
    from hypernet.cli.program import program

    monkeypatch.setenv("HYPERNET_CHECKPOINTS", str(root))
    run = CliRunner().invoke(program(), ["evaluate", "--checkpoint", NAME, "--documents", "2", "--json"])
    assert run.exit_code == 0, run.output
    printed = json.loads(run.stdout)
    assert (printed["suite"], printed["checkpoint"]) == ("profiles", NAME)
    assert set(printed["measures"][0]) == {"name", "arm", "value", "count", "low", "high"}


def test_command_prints_a_table_for_people(root, monkeypatch):
    from hypernet.cli.program import program

    monkeypatch.setenv("HYPERNET_CHECKPOINTS", str(root))
    run = CliRunner().invoke(program(), ["evaluate", "--checkpoint", NAME, "--documents", "2"])
    assert run.exit_code == 0, run.output
    assert "exact/unseen-phrasing" in run.stdout
    assert "of prompt" in run.stdout
