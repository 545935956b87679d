"""Batches for training a hypernetwork: packed without leaks, repeatable, and free of what evaluation keeps."""

import re
from random import Random

import pytest
import torch

from hypernet.models import AdaptedModel, BaseModel
from hypernet.models.miniature import miniature_base_model
from training.batch_numbers import BatchNumbers
from training.chat_format import ChatEncoder, Turn
from training.curriculum import Curriculum
from training.document_chunks import split_at_random
from training.hypernetwork_training import exact_conversations
from training.objectives import retention_loss, supervised_loss
from training.packing import IGNORED, pack, packed_logits
from training.pretraining_data import haystack
from training.profiles_data import Mixture, ProfileBatches, held_out_batches
from training.public_data.everything import PublicData
from training.public_data.persona_statements import Persona
from training.tokenizer import train_tokenizer, world_texts
from training.world import general
from training.world.attributes import BY_KEY
from training.world.documents import write_document
from training.world.manners import PLAIN
from training.world.people import make_person
from training.world.values import is_held_out


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(world_texts(60, seed=0), vocab_size=400, context_tokens=512)


@pytest.fixture(scope="module")
def encoder(tokenizer):
    return ChatEncoder(tokenizer)


@pytest.fixture(scope="module")
def base():
    model = miniature_base_model()
    yield model
    model.close()


PUBLIC = PublicData(
    conversations=(
        [
            Turn(role="system", content="I keep bees."),
            *[Turn(role=role, content=f"{role} {i}") for i in range(4) for role in ("user", "assistant")],
        ],
    ),
    personas=(
        Persona(
            name="music",
            agrees=tuple(f"I like song {i}" for i in range(40)),
            disagrees=tuple(f"I hate song {i}" for i in range(40)),
        ),
    ),
    sections=("Once there was a fox who lived by a river. " * 20,),
    sentences=("I guard the gate.", "I fear the king.", "I eat at noon."),
)


def batches(encoder, *, seed=0, public=PUBLIC, distinct=None, teacher_tokens=0, **mixture):
    return ProfileBatches(
        encoder=encoder,
        public=public,
        curriculum=Curriculum(first_facts=4, last_facts=4),
        mixture=Mixture(**mixture),
        documents=8,
        questions=6,
        retention_rows=2,
        seed=seed,
        numbers=BatchNumbers(),
        distinct=distinct,
        teacher_tokens=teacher_tokens,
    )


def talk(question, reply):
    return [Turn(role="user", content=question), Turn(role="assistant", content=reply)]


def test_batch_depends_on_the_seed_and_the_step_alone(encoder):
    first, again = batches(encoder).batch(7), batches(encoder).batch(7)
    for one, two in zip([first.chunks.ids, *first.rows], [again.chunks.ids, *again.rows], strict=True):
        assert torch.equal(one, two)
    assert first.chunks.texts == again.chunks.texts
    assert first.chunks.texts != batches(encoder).batch(8).chunks.texts
    assert first.chunks.texts != batches(encoder, seed=1).batch(7).chunks.texts


def test_documents_come_in_at_most_as_many_chunks_as_the_mixture_says(encoder):
    many = [batches(encoder, many_chunks=1.0, most_chunks=3).batch(step) for step in range(6)]
    counts = [count for batch in many for count in batch.counts]
    assert set(counts) == {1, 2, 3}
    assert all(sum(batch.counts) == len(batch.chunks.texts) == len(batch.chunks.ids) for batch in many)
    assert set(batches(encoder, many_chunks=0.0).batch(0).counts) == {1}


def test_several_documents_of_one_person_each_have_the_name_and_facts_of_their_own(encoder):
    shares = {"conversation": 0.0, "personas": 0.0, "negatives": 0.0, "many_chunks": 1.0, "most_chunks": 3}
    person = make_person(Random(0), fact_count=7, reserved=False)
    made = [batches(encoder, **shares)._several(person, Random(seed)) for seed in range(20)]
    assert {len(documents) for documents in made} == {1, 2, 3}
    for documents in made:
        assert all(person.facts["name"] in text for text in documents)
        for key, value in person.facts.items():
            if key != "name" and BY_KEY[key].is_open:
                assert sum(value in text for text in documents) == 1, (key, value)
    counts = [count for step in range(6) for count in batches(encoder, several=1.0, **shares).batch(step).counts]
    assert set(counts) == {1, 2, 3}


@pytest.mark.parametrize("manners", [True, False])
def test_people_have_a_manner_of_speech_only_where_the_mixture_says(encoder, manners):
    made = batches(encoder, manners=manners)
    assert any(made._person(Random(seed), 4).manner != PLAIN for seed in range(9)) == manners
    held = held_out_batches(encoder, people=16, facts=4, questions=4, seed=0, documents_per_batch=8, manners=manners)
    # A document quotes the phrase of a manner, and nothing else.
    assert any('"' in text for batch in held for text in batch.chunks.texts) == manners


def test_haystack_states_everything_among_the_sentences_of_a_story_in_their_order():
    public = PublicData(sections=(" ".join(f"A fox saw {n} hens." for n in range(1000, 1060)),))
    for seed in range(20):
        person = make_person(Random(seed), fact_count=4, reserved=False)
        text = haystack(public, person, Random(seed))
        assert all(value.lower() in text.lower() for value in person.facts.values())
        told = [int(number) for number in re.findall(r"A fox saw (\d+) hens\.", text)]
        assert len(told) >= 5
        assert told == list(range(told[0], told[0] + len(told)))
    alone = haystack(PublicData(), person, Random(0))
    assert all(value.lower() in alone.lower() for value in person.facts.values())
    texts = batches(encoder_of(public), public=public, haystacks=1.0, negatives=0.0, many_chunks=0.0)
    assert sum("fox" in text for step in range(3) for text in texts.batch(step).chunks.texts) > 15


def encoder_of(public):
    return ChatEncoder(
        train_tokenizer([*world_texts(60, seed=0), *public.sections], vocab_size=400, context_tokens=512)
    )


def test_every_kind_of_document_is_drawn(encoder):
    texts = " ".join(text for step in range(25) for text in batches(encoder).batch(step).chunks.texts)
    for part in ("I keep bees.", "I like song", "I hate song", "Once there was", "I guard the gate."):
        assert part in texts


def test_distinct_people_are_drawn_again_and_again(encoder):
    shares = {"conversation": 0.0, "personas": 0.0, "negatives": 0.0, "many_chunks": 0.0}
    limited, fresh = batches(encoder, distinct=3, **shares), batches(encoder, **shares)
    texts = {text for step in range(5) for text in limited.batch(step).chunks.texts}
    assert 3 <= len(texts) <= 9  # each with two, three or four facts
    assert len({text for step in range(5) for text in fresh.batch(step).chunks.texts}) == 40


def test_unrelated_talk_is_held_and_not_taught(encoder):
    batch = batches(encoder).batch(3)
    assert not ((batch.rows.labels != IGNORED) & (batch.held != IGNORED)).any()
    held, alone = batch.held[batch.held != IGNORED], batch.retention.labels[batch.retention.labels != IGNORED]
    assert torch.equal(held, alone)
    assert held.numel()


def test_teacher_is_asked_for_the_same_tokens_in_the_same_order(encoder):
    batch = batches(encoder, teacher_tokens=100_000).batch(3)
    taught = batch.rows.labels[batch.rows.labels != IGNORED]
    assert torch.equal(taught, batch.teacher_rows.labels[batch.teacher_rows.labels != IGNORED])


def test_document_that_the_teacher_cannot_hold_has_no_teacher(encoder):
    whole = batches(encoder, teacher_tokens=100_000).batch(3)
    lengths = (whole.teacher_rows.positions.max(1).values + 1).tolist()
    most = sorted(lengths)[len(lengths) // 2]
    some = batches(encoder, teacher_tokens=most).batch(3)
    assert [bool(row.any()) for row in some.teacher_rows.labels != IGNORED] == [length <= most for length in lengths]
    assert torch.equal(some.rows.labels, whole.rows.labels)
    assert batches(encoder, teacher_tokens=3).batch(3).teacher_rows is None
    assert batches(encoder).batch(3).teacher_rows is None


def test_training_never_asks_a_general_question_kept_for_evaluation(encoder, tokenizer):
    kept = {question for question, _ in general.FACTS if is_held_out(question)}
    others = {question for question, _ in general.FACTS} - kept
    endless = batches(encoder, public=PublicData())
    asked = " ".join(tokenizer.decode(row) for step in range(20) for row in endless.batch(step).rows.ids.tolist())
    assert sum(question in asked for question in others) > 50
    assert not [question for question in kept if question in asked]


def test_packed_conversation_is_answered_as_if_it_were_alone(base: BaseModel):
    encoder = ChatEncoder(base.tokenizer)
    rows = encoder.rows(
        [talk("Who are you?", "Ada."), talk("Where do you live?", "Velmora."), talk("Hello!", "Hello.")]
    )
    packed = pack([rows, rows[:1]], encoder.pad_id)
    model = AdaptedModel(base, ("down_proj",))
    try:
        together = model.forward(
            packed.ids, torch.ones_like(packed.ids, dtype=torch.bool), None, position_ids=packed.positions
        )
        at = 0
        for row in rows:
            ids = torch.tensor([row.ids])
            alone = model.forward(ids, torch.ones_like(ids, dtype=torch.bool), None)[0]
            torch.testing.assert_close(together[0, at : at + len(row.ids)], alone)
            at += len(row.ids)
        # The twin: without the positions that part them, the second conversation sees the first.
        leaking = model.forward(packed.ids, torch.ones_like(packed.ids, dtype=torch.bool), None)
        second = slice(len(rows[0].ids), len(rows[0].ids) + len(rows[1].ids))
        assert not torch.allclose(leaking[0, second], together[0, second])
        # Places are the tokens before those of the replies, and nothing else is worked out.
        at_places = packed_logits(model, packed, None, scaling=1.0)
        for document in range(2):
            there = packed.labels[document] != IGNORED
            torch.testing.assert_close(at_places[document, there], together[document, packed.places[document, there]])
            assert torch.equal(packed.ids[document, packed.places[document, there] + 1], packed.labels[document, there])
    finally:
        model.uninstall()


def test_labels_are_the_replies_and_nothing_else(encoder):
    (row,) = encoder.rows([talk("Who are you?", "Ada.")])
    packed = pack([[row, row]], encoder.pad_id)
    ((start, end),) = row.replies
    expected = list(row.ids[start:end]) * 2
    assert packed.labels[packed.labels != IGNORED].tolist() == expected


def test_exactness_is_counted_for_each_conversation(encoder):
    rows = encoder.rows([talk("Who are you?", "Ada."), talk("Hello!", "Hello.")])
    packed = pack([rows], encoder.pad_id)
    logits = torch.nn.functional.one_hot(packed.labels, 400).float()
    assert exact_conversations(logits, packed, packed.labels) == [[True, True]]
    ((start, end),) = rows[0].replies
    logits[0, end - start] = 0.0  # the second reply's first token
    assert exact_conversations(logits, packed, packed.labels) == [[True, False]]


def test_held_out_batch_asks_as_many_questions_as_it_says(encoder):
    first, second = held_out_batches(encoder, people=16, facts=5, questions=5, seed=0, documents_per_batch=8)
    assert [len(kinds) for kinds in first.kinds] == [5] * 8
    assert first.rows.conversations.max() == 5  # and a general question
    assert set(first.counts) == {1}
    assert set(second.counts) == {3}
    assert all(kind.startswith("unseen-") for kinds in second.kinds for kind in kinds)


def test_document_cut_into_chunks_loses_no_word():
    random = Random(0)
    for _ in range(100):
        text = write_document(make_person(random, fact_count=8, reserved=False), random)
        chunks = split_at_random(text, random.randint(1, 6), random)
        assert " ".join(chunks).split() == text.split()
        assert all(chunks)


def test_supervised_loss_scores_labelled_tokens_only():
    labels = torch.tensor([[IGNORED, 2, IGNORED]])
    logits = torch.zeros(1, 3, 4)
    assert supervised_loss(logits, labels).item() == pytest.approx(1.3863, abs=1e-4)
    logits[0, 1, 2] = 50.0  # the only labelled place
    assert supervised_loss(logits, labels).item() == pytest.approx(0.0, abs=1e-4)


def test_retention_loss_is_zero_for_the_bare_model_and_positive_otherwise():
    labels = torch.tensor([[1, 1, IGNORED]])
    bare = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0))
    assert retention_loss(bare, bare, labels).item() == pytest.approx(0.0, abs=1e-6)
    assert retention_loss(bare + torch.tensor([1.0, 0, 0, 0]), bare, labels).item() > 0.01
