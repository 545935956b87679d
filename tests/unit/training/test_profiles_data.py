"""Batches for training a hypernetwork: packed without leaks, repeatable, and free of what evaluation keeps."""

import pytest
import torch

from hypernet.models import AdaptedModel, BaseModel
from hypernet.models.miniature import miniature_base_model
from training.chat_format import ChatEncoder, Turn
from training.curriculum import Curriculum
from training.hypernetwork_training import exact_conversations
from training.objectives import retention_loss, supervised_loss
from training.profiles_data import IGNORED, ProfileBatches, held_out_batches, pack
from training.tokenizer import train_tokenizer, world_texts


@pytest.fixture(scope="module")
def encoder():
    return ChatEncoder(train_tokenizer(world_texts(60, seed=0), vocab_size=400, context_tokens=512))


@pytest.fixture(scope="module")
def base():
    model = miniature_base_model()
    yield model
    model.close()


def batches(encoder, *, seed=0):
    return ProfileBatches(
        encoder=encoder,
        conversations=[],
        curriculum=Curriculum(first_facts=4, last_facts=4),
        documents=3,
        questions=6,
        retention_rows=2,
        seed=seed,
        first_step=0,
    )


def talk(question, reply):
    return [Turn(role="user", content=question), Turn(role="assistant", content=reply)]


def test_batch_depends_on_the_seed_and_the_step_alone(encoder):
    first, again = batches(encoder).batch(7), batches(encoder).batch(7)
    for one, two in zip([first.document_ids, *first.rows], [again.document_ids, *again.rows], strict=True):
        assert torch.equal(one, two)
    assert not torch.equal(first.document_ids, batches(encoder).batch(8).document_ids)
    assert not torch.equal(first.document_ids, batches(encoder, seed=1).batch(7).document_ids)


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
        for number, row in enumerate(rows):
            ids = torch.tensor([row.ids])
            alone = model.forward(ids, torch.ones_like(ids, dtype=torch.bool), None)[0]
            inside = together[0][packed.conversations[0] == number][: len(row.ids)]
            torch.testing.assert_close(inside, alone)
        # The twin: without the positions that part them, the second conversation sees the first.
        leaking = model.forward(packed.ids, torch.ones_like(packed.ids, dtype=torch.bool), None)
        assert not torch.allclose(leaking[0][packed.conversations[0] == 1], together[0][packed.conversations[0] == 1])
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
    logits = torch.nn.functional.one_hot(packed.ids.roll(-1, 1), 400).float()
    assert exact_conversations(logits, packed) == [[True, True]]
    ((start, _),) = rows[1].replies
    logits[0, len(rows[0].ids) + start - 1] = 0.0  # the second reply's first token
    assert exact_conversations(logits, packed) == [[True, False]]


def test_held_out_batch_asks_as_many_questions_as_it_says(encoder):
    (batch,) = held_out_batches(encoder, people=32, facts=5, questions=5, seed=0)
    assert [len(kinds) for kinds in batch.kinds] == [5] * 32
    assert batch.rows.conversations.max() == 4


def test_supervised_loss_scores_labelled_tokens_only():
    labels = torch.tensor([[IGNORED, IGNORED, 2]])
    logits = torch.zeros(1, 3, 4)
    assert supervised_loss(logits, labels).item() == pytest.approx(1.3863, abs=1e-4)
    logits[0, 1, 2] = 50.0  # position 1 predicts the only labelled token
    assert supervised_loss(logits, labels).item() == pytest.approx(0.0, abs=1e-4)


def test_retention_loss_is_zero_for_the_bare_model_and_positive_otherwise():
    labels = torch.tensor([[IGNORED, 1, 1]])
    bare = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0))
    assert retention_loss(bare, bare, labels).item() == pytest.approx(0.0, abs=1e-6)
    assert retention_loss(bare + torch.tensor([1.0, 0, 0, 0]), bare, labels).item() > 0.01
