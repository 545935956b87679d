"""The bench: every arm is what it says, and replies are those of the engine that serves."""

import json
from dataclasses import dataclass, replace

import pytest
import torch

import hypernet
from hypernet.adapters import Adapter, LoraPair
from hypernet.engines import CompletionRequest, InProcessEngine, Sampling
from hypernet.models.miniature import random_adapter
from training.evaluation.cases import Case, Probe
from training.evaluation.evaluate import evaluate_documents
from training.evaluation.mean_adapter import mean_adapter
from training.evaluation.record import Record
from training.evaluation.respondent import Block, Respondent
from training.evaluation.suites.documents import read_documents


def replies(generator, prompts, adapter=None):
    """Straight from the respondent, by prompt."""
    ids = [generator.base.render_chat(prompt) for prompt in prompts]
    with Respondent(generator.base, generator.target_modules) as respondent:
        return next(iter(respondent.replies([Block.of(ids, adapter)])))[1]


def user(text):
    return {"role": "user", "content": text}


DOCUMENTS = ["My name is Ada.", "I am called Bela and I live by the river.", "Cleo."]
QUESTIONS = ["Who are you?", "Where?", "What is your name, please?", "Hi"]


def test_replies_are_those_of_the_engine_that_serves(generator):
    adapters = [random_adapter(generator.base, seed=seed, rank=2 + seed, strength=3.0) for seed in range(3)]
    blocks, expected = [], []
    engine = InProcessEngine(generator.base, max_rank=8, target_modules=generator.target_modules)
    for number, adapter in enumerate([*adapters, None]):
        system = [{"role": "system", "content": DOCUMENTS[number]}] if number < 2 else []
        prompts = [generator.base.render_chat([*system, user(text)]) for text in QUESTIONS]
        blocks.append(Block.of(prompts, adapter))
        if adapter is not None:
            engine.put(adapter)
        digest = None if adapter is None else adapter.digest
        streams = [
            engine.complete(CompletionRequest(prompt_ids=tuple(p), adapter=digest, sampling=Sampling(max_tokens=12)))
            for p in prompts
        ]
        expected.append(["".join(delta.text for delta in stream) for stream in streams])
    engine.close()
    with Respondent(generator.base, generator.target_modules) as respondent:
        found = dict(respondent.replies(blocks, max_tokens=12))
    assert [found[index] for index in range(4)] == expected
    assert len({tuple(texts) for texts in expected}) == 4


def test_losses_are_those_of_the_base_model_and_of_no_neighbour(generator):
    base = generator.base
    adapter = random_adapter(base, seed=1, strength=2.0)
    texts = [tuple(base.render_chat([user(text)])) for text in QUESTIONS]
    blocks = [
        Block(prefix=texts[0], suffixes=(texts[1], texts[2])),
        Block(prefix=(), suffixes=(texts[3], texts[1]), adapter=adapter),
    ]
    with Respondent(base, generator.target_modules) as respondent:
        found = dict(respondent.losses(blocks))
        alone = dict(respondent.losses([Block(prefix=(), suffixes=(texts[3],), adapter=adapter)]))
    whole = torch.tensor([[*texts[0], *texts[2]]])
    expected = (
        -base.module(whole).logits[0].log_softmax(-1)[len(texts[0]) : -1].gather(1, whole[0, len(texts[0]) + 1 :, None])
    )
    torch.testing.assert_close(found[0][1], expected[:, 0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found[1][0], alone[0][0], atol=1e-4, rtol=1e-4)


def test_respondent_gives_the_base_model_back(generator):
    before = dict(generator.base.module.named_modules())
    with Respondent(generator.base, generator.target_modules):
        pass
    assert dict(generator.base.module.named_modules()) == before


def test_block_of_prompts_keeps_a_token_of_each():
    block = Block.of([(1, 2, 3), (1, 2), (1, 2, 4, 5)])
    assert block.prefix == (1,)
    assert block.suffixes == ((2, 3), (2,), (2, 4, 5))


@dataclass(frozen=True, kw_only=True)
class Overheard(Probe):
    """A probe that keeps what was said."""

    said: list[str]

    def scores(self, reply):
        self.said.append(reply)
        return super().scores(reply)


@pytest.fixture(scope="module")
def adapters(generator):
    return [generator.write(state) for state in generator.read(DOCUMENTS)]


def overheard(bench, adapters, arm):
    """What is said under an arm, case by case."""
    cases = [
        Case(
            document=document,
            probes=tuple(
                Overheard(text=text, answers=("never said",), measures=("exact",), said=[]) for text in QUESTIONS
            ),
            person=number,
        )
        for number, document in enumerate(DOCUMENTS)
    ]
    bench.ask(Record(), cases, adapters, arms=(arm,))
    return [[text for probe in case.probes for text in probe.said] for case in cases]


def test_arms_are_what_they_say(generator, bench, adapters):
    def spoken(adapters, *, in_prompt=False):
        systems = [[{"role": "system", "content": text}] if in_prompt else [] for text in DOCUMENTS]
        return [
            replies(generator, [[*system, user(text)] for text in QUESTIONS], adapter)
            for system, adapter in zip(systems, adapters, strict=True)
        ]

    expected = {
        "none": spoken([None] * 3),
        "prompt": spoken([None] * 3, in_prompt=True),
        "adapter": spoken(adapters),
        "other": spoken([*adapters[1:], adapters[0]]),
        "mean": spoken([bench.mean] * 3),
    }
    for arm, texts in expected.items():
        assert overheard(bench, adapters, arm) == texts, arm
    assert len({str(texts) for texts in expected.values()}) == 5


def test_other_passes_over_whoever_shares_an_answer(bench, adapters):
    """With an answer planted in the next document, the adapter after that one stands in."""
    probes = (Probe(text="Where?", answers=("the river",), measures=("exact",)),)
    case = Case(document=DOCUMENTS[0], probes=probes, person=0)
    cases = [case, *(Case(document=text, probes=(), person=1) for text in DOCUMENTS[1:])]
    assert bench.others(cases, adapters)[0] is adapters[2]
    cases[2] = replace(cases[2], document="By the river.")
    assert bench.others(cases, adapters)[0] in bench.strangers[1]


def test_other_is_never_another_document_of_the_same_person(bench, adapters):
    cases = [
        Case(document=text, probes=(Probe(text="?", answers=("no",), measures=("exact",)),), person=number // 2)
        for number, text in enumerate(DOCUMENTS)
    ]
    assert bench.others(cases, adapters) == [adapters[2], adapters[2], adapters[0]]


def test_document_that_no_adapter_can_be_made_of_is_named_before_anything_is_measured(bench, tmp_path):
    limit = bench.generator.max_document_tokens
    asked = {"question": "Where?", "answers": ["York"], "kind": "open"}
    for name, text in (("short", "I live in York."), ("endless", "I live in York. " * (limit // 3))):
        content = {"id": name, "document": text, "questions": [asked]}
        (tmp_path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(hypernet.errors.InvalidRequest, match=rf"endless\.json: document: .*at most {limit}"):
        evaluate_documents(bench, read_documents(tmp_path))


def test_document_that_is_too_long_for_the_prompt_is_cut_and_said(generator, bench):
    record = Record()
    document = "word " * 1000
    cut = bench.fitting(document, "Where?", record, room=24)
    limit = generator.base.max_context_tokens - 24 - len(generator.base.render_chat([user("Where?")]))
    assert limit - 5 <= bench.tokens(cut) <= limit
    assert document.startswith(cut)
    assert len(record.notes) == 1
    assert bench.fitting("short", "Where?", Record(), room=24) == "short"


def test_mean_is_the_mean_of_the_updates_and_can_be_stored(adapters):
    mean = mean_adapter(adapters)
    name = next(iter(mean.modules))
    updates = [a.folded().modules[name] for a in adapters]
    expected = torch.stack([pair.b @ pair.a for pair in updates]).mean(0)
    torch.testing.assert_close(mean.modules[name].b @ mean.modules[name].a, expected)
    assert Adapter.from_canonical_bytes(mean.canonical_bytes()).digest == mean.digest


def test_mean_of_factors_would_not_be_the_mean_of_adapters(adapters):
    """The twin: averaging A and B one by one gives another update."""
    name = next(iter(adapters[0].modules))
    pairs = [a.folded().modules[name] for a in adapters]
    careless = LoraPair(a=torch.stack([p.a for p in pairs]).mean(0), b=torch.stack([p.b for p in pairs]).mean(0))
    mean = mean_adapter(adapters).modules[name]
    assert not torch.allclose(careless.b @ careless.a, mean.b @ mean.a, atol=1e-4)
