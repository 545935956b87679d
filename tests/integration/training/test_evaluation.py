"""The evaluation: every arm is what it says, every suite gives its figures, the command prints what it promises."""

import csv
import json
from dataclasses import dataclass, replace
from importlib import import_module
from random import Random

import pytest
import torch
from typer.testing import CliRunner

import hypernet
from hypernet.adapters import Adapter, LoraPair
from hypernet.engines import CompletionRequest, InProcessEngine, Sampling
from hypernet.generators.finetuning import finetune
from hypernet.models.miniature import random_adapter
from tests.miniature import NAME, write_checkpoint
from training.evaluation.bench import Bench
from training.evaluation.cases import Case, Probe
from training.evaluation.evaluate import evaluate, evaluate_documents
from training.evaluation.mean_adapter import mean_adapter
from training.evaluation.measures import ARMS, is_comparison
from training.evaluation.record import Record
from training.evaluation.respondent import Block, Respondent
from training.evaluation.suites import SUITES
from training.evaluation.suites.conversation import content_words, held_out_talks, shared_with_training
from training.evaluation.suites.documents import read_documents
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

LONG_ENOUGH = 40_000


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    write_checkpoint(folder, max_document_tokens=LONG_ENOUGH)
    return folder


@pytest.fixture(scope="module")
def generator(root):
    loaded = hypernet.load(NAME, root=root)
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def bench(generator, data_dir):
    return Bench(generator, data_dir=data_dir, mean_people=6)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Public data in miniature: the same files with made-up content."""
    folder = tmp_path_factory.mktemp("data")
    chats = folder / "synthetic_persona_chat" / "valid.csv"
    chats.parent.mkdir()
    personas = [f"I keep {n} bees.\nI paint fence number {n}." for n in range(200)]
    with chats.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["user 1 personas", "user 2 personas", "Best Generated Conversation"])
        for n, persona in enumerate(personas):
            said = [
                f"User 1: Hello {n}",
                f"User 2: Hi {n}, I keep {n} bees.",
                "User 1: Nice.",
                f"User 2: Rain again {n}!",
            ]
            rows.writerow([personas[n - 1], persona, "\n".join(said)])
    statements = folder / "evals_persona"
    statements.mkdir()
    for n in range(30):
        lines = [
            {"statement": f"I would {verb} thing {n} {m}", "answer_matching_behavior": f" {answer}"}
            for answer, verb in (("Yes", "do"), ("No", "hate"))
            for m in range(40)
        ]
        (statements / f"persona-{n}.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    stories = folder / "fairytale_qa" / "section-stories" / "val"
    stories.mkdir(parents=True)
    for n in range(3):
        tale = f"Once a king {n} had a horse. It ran away! Nobody found the horse again."
        (stories / f"{n}.csv").write_text(f"section,text\n1,{tale}\n2,{tale} The end.\n", encoding="utf-8")
    return folder


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
    asked = {"question": "Where?", "answers": ["York"], "kind": "open"}
    for name, text in (("short", "I live in York."), ("endless", "I live in York. " * (LONG_ENOUGH // 3))):
        content = {"id": name, "document": text, "questions": [asked]}
        (tmp_path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(hypernet.errors.InvalidRequest, match=rf"endless\.json: document: .*at most {LONG_ENOUGH}"):
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


@pytest.mark.parametrize("suite", ["conversation", "personality"])
def test_suite_that_needs_public_data_says_so(root, monkeypatch, suite):
    monkeypatch.delenv("HYPERNET_DATA_DIR", raising=False)
    run = command(root, monkeypatch, "--suite", suite, "--count", "2")
    assert isinstance(run.exception, hypernet.errors.InvalidRequest)
    assert "HYPERNET_DATA_DIR" in run.exception.message
    assert suite in run.exception.message


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
