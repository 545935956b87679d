"""The suites: each gives its figures under every arm, and they measure what their names say."""

import json
from dataclasses import replace
from importlib import import_module
from random import Random

import pytest
import torch

from hypernet.adapters import LoraPair
from hypernet.generators.finetuning import finetune
from training.evaluation.bench import Bench
from training.evaluation.evaluate import evaluate
from training.evaluation.measures import ARMS
from training.evaluation.record import Record
from training.evaluation.suites import SUITES
from training.evaluation.suites.conversation import content_words, held_out_talks, shared_with_training
from training.evaluation.suites.frontier import frontier, make_tasks
from training.evaluation.suites.interference import _stories as real_stories
from training.evaluation.suites.interference import _talks as real_talks
from training.evaluation.suites.long import long, make_users, record_identity_and_sizes
from training.evaluation.suites.needle import needle, needle_cases
from training.evaluation.suites.personality import _other as other_sitting
from training.evaluation.suites.personality import make_sittings
from training.public_data.persona_chat import read_conversations
from training.public_data.persona_statements import Persona
from training.world.manners import PLAIN


def test_needle_is_in_every_document_of_its_length(bench):
    sentences = [f"Some sentence number {n} stands here." for n in range(50)]
    for tokens in (400, 1600):
        for case in needle_cases(bench, 6, name="1x", tokens=tokens, sentences=sentences):
            (answer,) = case.probes[0].answers
            assert case.document.lower().count(answer.lower()) >= 1
            longest = max(len(bench.reply_tokens(sentence)) for sentence in sentences)
            assert tokens - longest <= bench.tokens(case.document) <= tokens


def test_length_of_a_needle_is_that_of_its_chunks(bench, monkeypatch):
    monkeypatch.setattr(import_module("training.evaluation.suites.needle"), "MULTIPLES", (1, 3))
    record = needle(bench, 3)
    found = {measure.name: measure for measure in record.measures()}
    for multiple in (1, 3):
        planned = multiple * bench.generator.trained_chunks
        assert planned - 1 <= found[f"chunks/{multiple}x"].value <= planned + 1


def test_users_documents_state_different_facts():
    for made in make_users(6):
        asked = [{question.answer for question in questions} for questions in made.questions]
        assert 2 <= len(made.documents) == len(asked) <= 4
        for number, document in enumerate(made.documents):
            assert all(answer in document for answer in asked[number])


DOCUMENTS = ["My name is Ada.", "I am called Bela and I live by the river.", "Cleo."]


@pytest.fixture(scope="module")
def removal(generator):
    whole = [a + b for a, b in zip(generator.read(DOCUMENTS[:2]), generator.read(DOCUMENTS[1:]), strict=True)]
    rest = generator.read(DOCUMENTS[:2])
    reduced = [
        whole[0].without(generator.read([DOCUMENTS[1]])[0].documents[0].digest),
        whole[1].without(generator.read([DOCUMENTS[2]])[0].documents[0].digest),
    ]
    return whole, reduced, rest


def test_compression_is_measured_where_there_is_any(bench):
    users = 6
    rank, chunk_rank = bench.generator.signature.rank, bench.generator.hypernetwork.config.rank
    record = long(bench, users)
    compressed = [
        made
        for made in make_users(users)
        if sum(bench.generator.read([text])[0].chunks for text in made.documents) * chunk_rank
        + bench.generator.hypernetwork.config.bias_rank
        > rank
    ]
    assert 0 < len(compressed) < users
    asked = sum(len(questions) for made in compressed for questions in made.questions)
    found = {(measure.name, measure.arm): measure for measure in record.measures()}
    assert found["exact/compressed", "adapter"].count == found["exact/uncompressed", "adapter"].count == asked
    assert found["gap/together", "adapter"].value == pytest.approx(
        found["exact/together", "adapter"].value - found["exact/alone", "adapter"].value
    )


def test_removed_document_is_gone_exactly(bench, removal):
    whole, reduced, rest = removal
    record = Record()
    record_identity_and_sizes(bench, record, together=whole, reduced=reduced, never=rest)
    found = {measure.name: measure for measure in record.measures()}
    assert found["identical/removed"].value == 1.0
    assert found["size_bytes/uncompressed"].value >= found["size_bytes/compressed"].value


def test_removal_that_leaks_is_caught(bench, removal):
    """The twin: a state that keeps the document, and one that keeps a trace of it in a single number."""
    whole, reduced, rest = removal
    (kept,) = reduced[1].documents
    name, pair = next(iter(kept.chunks[0].items()))
    traced = {**kept.chunks[0], name: LoraPair(a=pair.a + 1e-3 * torch.eye(*pair.a.shape), b=pair.b)}
    leaking = replace(reduced[1], documents=(replace(kept, chunks=(traced, *kept.chunks[1:])),))
    record = Record()
    record_identity_and_sizes(bench, record, together=whole, reduced=[whole[0], leaking], never=rest)
    assert next(m for m in record.measures() if m.name == "identical/removed").value == 0.0


def test_content_words_are_not_those_that_everybody_uses():
    assert content_words("I love to bake cookies with my Dogs.") == {"bake", "cookies", "dogs"}
    assert not content_words("Oh, that is so great! What do you like?")


def test_sittings_ask_about_other_statements_and_the_opposite_answers_the_other_way():
    persona = Persona(
        name="p", agrees=tuple(f"yes {n}" for n in range(40)), disagrees=tuple(f"no {n}" for n in range(40))
    )
    plain, opposite = make_sittings([persona], 1)
    for sitting, mine in ((plain, "yes"), (opposite, "no")):
        assert sitting.document.count(f"{mine} ") == 8
        for question, truth in sitting.asked:
            statement = question.split('"')[1]
            assert statement not in sitting.document.split("\n- ")
            assert truth == statement.startswith(mine)


def test_other_persona_is_no_neighbour_in_the_alphabet():
    personas = [
        Persona(name=str(n), agrees=tuple(f"{n} {m}" for m in range(40)), disagrees=tuple(f"no {m}" for m in range(40)))
        for n in range(6)
    ]
    sittings = make_sittings(personas, 6)
    for index, sitting in enumerate(sittings):
        other = sittings[other_sitting(sittings, index)]
        assert other.reversed == sitting.reversed
        assert (other.persona - sitting.persona) % 6 == 3
    assert other_sitting(sittings[:1], 0) == 0


def test_texts_of_one_source_are_no_independent_observations(bench):
    talks, stories = real_talks(bench, Random(0)), real_stories(bench, Random(0))
    assert len({str(text.turns) for text in talks}) == len(talks)
    # Some dialogues are told from both sides, every tale has two sections.
    said = [{turn.content for turn in text.turns} for text in talks]
    for first, one in zip(talks, said, strict=True):
        for second, other in zip(talks, said, strict=True):
            assert (first.source == second.source) == bool(one & other - {"Nice."})
    assert len({text.source for text in talks}) < len(talks)
    assert len({text.source for text in stories}) == len(stories) / 2
    result = evaluate(bench, suite="interference", count=len(talks) + 5)
    assert result.measure("loss/stories", "none").count == len(stories)
    assert any("scored once" in note for note in result.notes)


EXPECTED = {
    "profiles": {"exact", "exact/stated", "exact/unseen-phrasing", "exact/unanswerable", "exact/general", "exact/talk"},
    "needle": {"exact", "exact/1x", "exact/2x", "exact/3x", "exact/5x", "exact/8x", "exact/window-4x"},
    "interference": {
        "exact/general",
        "loss/stories",
        "loss/conversation",
        "loss-ratio/stories",
        "loss-ratio/conversation",
    },
    "long": {"exact/alone", "exact/together", "exact/removed", "exact/kept"},
    "conversation": {"loss/profile-bearing", "loss/others", "gain/profile-bearing"},
    "personality": {"accuracy", "accuracy/reversed"},
}
ONE_ARM = {
    "needle": {"size_bytes/1x", "size_bytes/8x", "exact/compressed/8x", "exact/uncompressed/8x"},
    "long": {"exact/compressed", "exact/uncompressed", "identical/removed", "size_bytes/compressed"},
    "personality": {"floor/persona-blind", "gap/floor", "gap/other"},
}


@pytest.mark.parametrize("suite", sorted(EXPECTED))
def test_suite_gives_its_figures_under_every_arm(bench, suite):
    result = evaluate(bench, suite=suite, count=12 if suite == "conversation" else 3)
    names = set(result.names)
    assert EXPECTED[suite] | ONE_ARM.get(suite, set()) <= names
    for measure in result.measures:
        assert measure.low <= measure.value <= measure.high, measure
        assert measure.count >= 1
    for name in EXPECTED[suite]:
        measures = [result.measure(name, arm) for arm in ARMS]
        assert all(measures), name
        assert len({m.count for m in measures}) == 1, name
    json.dumps(result.to_dict(), allow_nan=False)


def test_ranking_has_twenty_candidates(bench):
    result = evaluate(bench, suite="conversation", count=40)
    assert result.measure("rank-1-of-20", "adapter").count >= 1


def test_public_data_of_the_suites_is_held_out(data_dir):
    talks = held_out_talks(data_dir, 100)
    assert talks
    trained = {turns[0].content for turns in read_conversations(data_dir, held_out=False)}
    assert not trained & {talk.persona for talk in talks}


def test_persona_that_shares_a_line_with_training_is_counted(data_dir):
    (first, second, *_), (told, *_) = held_out_talks(data_dir, 100), read_conversations(data_dir, held_out=False)
    assert shared_with_training(data_dir, [first, second]) == 0
    line = told[0].content.splitlines()[-1].upper()
    assert shared_with_training(data_dir, [replace(first, persona=f"I am new here.\n{line}"), second]) == 1


@pytest.mark.parametrize("suite", ["needle", "interference"])
def test_suite_without_public_data_says_what_it_used_or_left_out(generator, monkeypatch, suite):
    monkeypatch.delenv("HYPERNET_DATA_DIR", raising=False)
    result = evaluate(Bench(generator, mean_people=2), suite=suite, count=2)
    assert any("no folder of public data" in note for note in result.notes)


def test_every_suite_is_tested():
    assert set(EXPECTED) | {"frontier"} == set(SUITES)


def test_frontier_sets_quality_beside_time(bench, monkeypatch):
    generated = [bench.generator.generate(task.document).adapter for task in make_tasks(2, queries=3)]
    ranks = []

    def fine_tuned(*arguments, rank, **options):
        ranks.append(rank)
        return finetune(*arguments, rank=rank, **options)

    monkeypatch.setattr(import_module("training.evaluation.suites.frontier"), "finetune", fine_tuned)
    record = frontier(bench, 2, distilled=(1, 3))
    found = {(measure.name, measure.arm): measure for measure in record.measures()}
    assert {("exact", arm) for arm in ARMS} <= set(found)
    assert ranks == [adapter.rank for adapter in generated] * 3
    for method in ("generated", "distillation-1", "distillation-3", "finetune"):
        assert found[f"exact/{method}", "adapter"].count == found["exact", "none"].count
        assert found[f"time_s/{method}", "adapter"].value > 0
        if method != "generated":
            assert found[f"time-ratio/{method}", "adapter"].value > 0
            assert -1 <= found[f"gap/{method}", "adapter"].value <= 1


def test_true_reply_in_the_persons_own_manner_is_right():
    told = [(probe, q) for task in make_tasks(12, queries=1) for probe, q in zip(task_case(task).probes, task.asked)]
    told += [(user_probe(q, "exact"), q) for made in make_users(12) for of in made.questions for q in of]
    assert any(question.manner != PLAIN and not question.manner.is_listed for _, question in told)
    for probe, question in told:
        assert dict(probe.scores(question.reply))["exact"], question.reply


def task_case(task):
    return import_module("training.evaluation.suites.frontier")._case(task, "exact", 0)


def user_probe(question, name):
    return import_module("training.evaluation.suites.long")._probe(question, name)


def test_no_query_of_the_frontier_is_asked_later():
    for task in make_tasks(2, queries=40):
        assert len(task.queries) == 40
        assert not {query.text for query in task.queries} & {question.text for question in task.asked}
