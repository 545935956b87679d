"""Batches for training a hypernetwork: documents, questions about them without the document, and retention rows."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from training.chat_format import ChatEncoder, Row, Turn
from training.curriculum import Curriculum
from training.pretraining_data import pad_rows, question_turns
from training.real_conversation import SOURCE, data_folder, read_conversations
from training.world.documents import write_document
from training.world.people import Person, make_person
from training.world.questions import Question, ask_fact, ask_general, interview, small_talk

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

IGNORED = -100
"""Label of a token that is not scored; what ``cross_entropy`` skips."""


class PackedRows(NamedTuple):
    """Several short conversations in one sequence a document, none of which sees another.

    Positions start again with every conversation, which is what transformers takes as the border between packed
    sequences. Padding them one by one instead would nearly double the tokens.

    Attributes:
        ids: int64, ``documents tokens``; padded on the right.
        positions: int64, ``documents tokens``.
        labels: int64, ``documents tokens``: the reply tokens in place, ``IGNORED`` elsewhere.
        conversations: int64, ``documents tokens``: which conversation of its document a token is part of.
    """

    ids: Tensor
    positions: Tensor
    labels: Tensor
    conversations: Tensor


class ProfileBatch(NamedTuple):
    """Documents, and what is asked under the adapter of each.

    Attributes:
        document_ids: int64, ``documents tokens``.
        document_mask: bool, ``documents tokens``.
        rows: questions and replies, no document.
        retention: talk that has nothing to do with the person; the bare model's distribution must be kept there.
        kinds: for every document, what each of its conversations in ``rows`` measures.
    """

    document_ids: Tensor
    document_mask: Tensor
    rows: PackedRows
    retention: PackedRows
    kinds: list[list[str]]


def pack(documents: Sequence[Sequence[Row]], pad_id: int) -> PackedRows:
    """The conversations of every document, one after another in one sequence."""
    length = max(sum(len(row.ids) for row in rows) for rows in documents)
    ids = torch.full((len(documents), length), pad_id)
    labels = torch.full_like(ids, IGNORED)
    positions, conversations = torch.zeros_like(ids), torch.zeros_like(ids)
    for document, rows in enumerate(documents):
        at = 0
        for number, row in enumerate(rows):
            end = at + len(row.ids)
            ids[document, at:end] = torch.tensor(row.ids)
            positions[document, at:] = torch.arange(length - at)  # the padding after the last one goes on counting
            conversations[document, at:] = number
            for first, last in row.replies:
                labels[document, at + first : at + last] = ids[document, at + first : at + last]
            at = end
    return PackedRows(ids=ids, positions=positions, labels=labels, conversations=conversations)


class ProfileBatches(IterableDataset[ProfileBatch]):
    """Endless batches of fresh people; the one for a step depends on the seed and the step alone."""

    def __init__(
        self,
        *,
        encoder: ChatEncoder,
        conversations: list[list[Turn]],
        curriculum: Curriculum,
        documents: int,
        questions: int,
        retention_rows: int,
        seed: int,
        first_step: int,
    ) -> None:
        self._encoder = encoder
        self._conversations = conversations
        self._curriculum = curriculum
        self._documents = documents
        self._questions = questions
        self._retention_rows = retention_rows
        self._seed = seed
        self._first_step = first_step

    def __iter__(self) -> Iterator[ProfileBatch]:
        step = self._first_step
        while True:
            yield self.batch(step)
            step += 1

    def batch(self, step: int) -> ProfileBatch:
        """The batch for ``step``. One step in five asks several questions in a row, so that longer chats work too."""
        random = Random(f"profiles {self._seed} {step}")
        turns = 3 if random.random() < 0.2 else 1
        documents, rows, kinds, retention = [], [], [], []
        for _ in range(self._documents):
            person = make_person(random, fact_count=self._curriculum.draw(step, random), reserved=False)
            documents.append(Turn(role="system", content=write_document(person, random)))
            questions = interview(person, random, turns=self._questions)
            starts = range(0, self._questions - self._questions % turns, turns)
            rows.append([question_turns(questions[start : start + turns]) for start in starts])
            kinds.append([question.kind for question in questions])
            retention.append([self._unrelated(random) for _ in range(self._retention_rows)])
        return make_batch(self._encoder, documents=documents, rows=rows, retention=retention, kinds=kinds)

    def _unrelated(self, random: Random) -> list[Turn]:
        if not self._conversations or random.random() < 0.6:
            return question_turns([ask_general(random)])
        talk = random.choice(self._conversations)[1:]
        # From the middle of a conversation: its greetings are the person's own manner's business.
        starts = [index for index in range(2, len(talk) - 1) if talk[index].role == "user"]
        if not starts:
            return question_turns([ask_general(random)])
        start = random.choice(starts)
        return talk[start : start + 2]


def make_batch(
    encoder: ChatEncoder,
    *,
    documents: Sequence[Turn],
    rows: Sequence[Sequence[Sequence[Turn]]],
    retention: Sequence[Sequence[Sequence[Turn]]],
    kinds: list[list[str]],
) -> ProfileBatch:
    """Tokenise, pad and pack one batch; ``rows`` and ``retention`` hold the conversations of each document."""
    document_rows = encoder.rows([[document] for document in documents])
    document_ids = pad_rows(document_rows, encoder.pad_id)
    lengths = torch.tensor([len(row.ids) for row in document_rows])
    return ProfileBatch(
        document_ids=document_ids,
        document_mask=torch.arange(document_ids.shape[1]) < lengths[:, None],
        rows=pack([encoder.rows(conversations) for conversations in rows], encoder.pad_id),
        retention=pack([encoder.rows(conversations) for conversations in retention], encoder.pad_id),
        kinds=kinds,
    )


def held_out_batches(
    encoder: ChatEncoder, *, people: int, facts: int, questions: int, seed: int, documents_per_batch: int = 32
) -> list[ProfileBatch]:
    """People, values and names that training never draws; every conversation one question."""
    random = Random(f"held out {seed} {facts}")
    batches = []
    for _ in range(0, people, documents_per_batch):
        documents, rows, kinds, retention = [], [], [], []
        for _ in range(documents_per_batch):
            person = make_person(random, fact_count=facts, reserved=True)
            documents.append(Turn(role="system", content=write_document(person, random)))
            asked = held_out_interview(person, random, questions=questions)
            rows.append([question_turns([question]) for question in asked])
            kinds.append([question.kind for question in asked])
            retention.append([question_turns([ask_general(random)])])
        batches.append(make_batch(encoder, documents=documents, rows=rows, retention=retention, kinds=kinds))
    return batches


def held_out_interview(person: Person, random: Random, *, questions: int) -> list[Question]:
    """``questions`` questions: stated facts, and small talk for the rest."""
    keys = random.sample(list(person.facts), min(questions, len(person.facts)))
    asked = [ask_fact(person, key, random) for key in keys]
    return asked + [small_talk(person, random) for _ in range(questions - len(asked))]


class ProfileData(lightning.LightningDataModule):
    """Made-up people for training a hypernetwork, with unrelated talk for retention.

    Args:
        base: folder of the base model, whose tokenizer is used.
        data_dir: folder with ``synthetic_persona_chat``; when null, the environment variable ``HYPERNET_DATA_DIR``
            names it.
        real_conversation: whether retention rows include real conversation; false needs no data folder.
        curriculum: how many facts a document has at each step.
        documents: documents in a batch.
        questions: questions asked about each document.
        retention_rows: unrelated rows for each document.
        validation_people: held-out people for the exact-answer score, in whole batches of 32.
        seed: of the batches and the validation people.
    """

    def __init__(
        self,
        base: Path,
        data_dir: Path | None = None,
        real_conversation: bool = True,
        curriculum: Curriculum = Curriculum(),  # noqa: B008  (frozen, so sharing it is safe)
        documents: int = 32,
        questions: int = 8,
        retention_rows: int = 2,
        validation_people: int = 64,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.base = base
        self.data_dir = data_dir
        self.real_conversation = real_conversation
        self.curriculum = curriculum
        self.documents = documents
        self.questions = questions
        self.retention_rows = retention_rows
        self.validation_people = validation_people
        self.seed = seed
        self.tokenizer: PreTrainedTokenizerFast

    def setup(self, stage: str) -> None:
        """Load the tokenizer and read the conversations."""
        from transformers import PreTrainedTokenizerFast

        self.tokenizer = PreTrainedTokenizerFast.from_pretrained(self.base)
        self.encoder = ChatEncoder(self.tokenizer)
        folder = data_folder(self.data_dir) if self.real_conversation else None
        self.conversations = [] if folder is None else read_conversations(folder, held_out=False)

    @property
    def sources(self) -> list[str]:
        """Data sets with their licences, for the manifest."""
        return ["made-up world (this project, Apache-2.0)", *([SOURCE] if self.real_conversation else [])]

    def train_dataloader(self) -> DataLoader[ProfileBatch]:
        """Batches from the step that the trainer stands at."""
        batches = ProfileBatches(
            encoder=self.encoder,
            conversations=self.conversations,
            curriculum=self.curriculum,
            documents=self.documents,
            questions=self.questions,
            retention_rows=self.retention_rows,
            seed=self.seed,
            first_step=self.trainer.global_step if self.trainer else 0,
        )
        return DataLoader(batches, batch_size=None)

    def val_dataloader(self) -> DataLoader[ProfileBatch]:
        """Held-out people with the final number of facts."""
        facts = self.curriculum.last_facts
        batches = held_out_batches(
            self.encoder, people=self.validation_people, facts=facts, questions=facts, seed=self.seed
        )
        return DataLoader(batches, batch_size=None)
