"""Batches for pre-training the base model: people in the prompt, questions without any, real conversation."""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from training.chat_format import ChatEncoder, Row, Turn
from training.curriculum import Curriculum
from training.real_conversation import data_folder, read_conversations
from training.tokenizer import train_tokenizer, world_texts
from training.world.documents import write_document
from training.world.people import Person, make_person
from training.world.questions import Question, ask_absent, ask_general, interview

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_STEPS_PER_POOL = 4
_OTHER_TOKEN_WEIGHT = 0.1
_CONVERSATION_WEIGHT = 0.3


class WeightedBatch(NamedTuple):
    """Right-padded rows with a loss weight for every token.

    Attributes:
        input_ids: int64, ``batch tokens``.
        weights: float32, ``batch tokens``: weight of predicting that token; 0 on padding.
    """

    input_ids: Tensor
    weights: Tensor


class InterviewBatch(NamedTuple):
    """Right-padded rows whose replies are scored.

    Attributes:
        input_ids: int64, ``batch tokens``.
        replies: int64, ``replies 3``: row, first token and end of every reply to score.
        kinds: what each reply measures.
    """

    input_ids: Tensor
    replies: Tensor
    kinds: list[str]


def pad_rows(rows: list[Row], pad_id: int) -> Tensor:
    """Token ids of ``rows``, padded on the right; int64, ``batch tokens``."""
    length = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), length), pad_id, dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, : len(row.ids)] = torch.tensor(row.ids)
    return ids


def question_turns(questions: list[Question]) -> list[Turn]:
    """The questions and their replies as alternating turns."""
    return [
        turn
        for question in questions
        for turn in (Turn(role="user", content=question.text), Turn(role="assistant", content=question.reply))
    ]


def without_document(person: Person, random: Random, *, turns: int) -> list[Question]:
    """What the model answers when it was told nothing: general questions plainly, personal ones with a refusal."""
    blank = Person(facts={"name": person.name}, manner=type(person.manner)(), gender=person.gender)
    return [ask_general(random) if random.random() < 0.5 else ask_absent(blank, random) for _ in range(turns)]


class PretrainingBatches(IterableDataset[WeightedBatch]):
    """Endless batches; the one for a step depends on the seed and the step alone, so a resumed run sees what it would
    have seen.
    """

    def __init__(
        self,
        *,
        encoder: ChatEncoder,
        conversations: list[list[Turn]],
        curriculum: Curriculum,
        tokens_per_step: int,
        seed: int,
        first_step: int,
    ) -> None:
        self._encoder = encoder
        self._conversations = conversations
        self._curriculum = curriculum
        self._tokens_per_step = tokens_per_step
        self._seed = seed
        self._first_step = first_step

    def __iter__(self) -> Iterator[WeightedBatch]:
        step = self._first_step
        while True:
            batches = self._pool(step // _STEPS_PER_POOL)
            yield from batches[step % _STEPS_PER_POOL :]
            step += _STEPS_PER_POOL - step % _STEPS_PER_POOL

    def _pool(self, pool: int) -> list[WeightedBatch]:
        """Batches of several steps at once: rows of like length together, so that little is spent on padding."""
        random = Random(f"pretraining {self._seed} {pool}")
        step = pool * _STEPS_PER_POOL
        weighted: list[tuple[Row, float]] = []
        tokens = 0
        while tokens < self._tokens_per_step * _STEPS_PER_POOL:
            talks = [self._one(step, random) for _ in range(32)]
            rows = self._encoder.rows([turns for turns, _ in talks])
            weighted += [(row, weight) for row, (_, weight) in zip(rows, talks, strict=True)]
            tokens += sum(len(row.ids) for row in rows)
        weighted.sort(key=lambda pair: len(pair[0].ids))
        batches = self._split(weighted, tokens // _STEPS_PER_POOL + 1)
        random.shuffle(batches)
        return batches

    def _one(self, step: int, random: Random) -> tuple[list[Turn], float]:
        draw = random.random()
        if draw < 0.06 and self._conversations:
            turns = random.choice(self._conversations)
            return turns[: random.randint(3, 7)], _CONVERSATION_WEIGHT
        facts = self._curriculum.draw(step, random)
        person = make_person(random, fact_count=facts, reserved=False)
        if draw < 0.14:
            return question_turns(without_document(person, random, turns=random.randint(1, 5))), 1.0
        document = Turn(role="system", content=write_document(person, random))
        return [document, *question_turns(interview(person, random, turns=min(facts + 2, 9)))], 1.0

    def _split(self, weighted: list[tuple[Row, float]], budget: int) -> list[WeightedBatch]:
        groups: list[list[tuple[Row, float]]] = [[]]
        used = 0
        for pair in weighted:
            if used >= budget and len(groups) < _STEPS_PER_POOL:
                groups.append([])
                used = 0
            groups[-1].append(pair)
            used += len(pair[0].ids)
        while len(groups) < _STEPS_PER_POOL:
            groups.append([groups[-1].pop()])
        return [self._batch(group) for group in groups]

    def _batch(self, group: list[tuple[Row, float]]) -> WeightedBatch:
        ids = pad_rows([row for row, _ in group], self._encoder.pad_id)
        weights = (ids != self._encoder.pad_id).float() * _OTHER_TOKEN_WEIGHT
        for index, (row, weight) in enumerate(group):
            weights[index] *= weight
            for start, end in row.replies:
                weights[index, start:end] = weight
        return WeightedBatch(input_ids=ids, weights=weights)


def interview_batches(
    encoder: ChatEncoder, *, people: int, facts: int, seed: int, rows_per_batch: int = 32
) -> list[InterviewBatch]:
    """Held-out people in the prompt, with questions of every kind; values and people never seen in training."""
    random = Random(f"validation {seed} {facts}")
    talks, kinds = [], []
    for _ in range(people):
        person = make_person(random, fact_count=facts, reserved=True)
        questions = interview(person, random, turns=8)
        talks.append([Turn(role="system", content=write_document(person, random)), *question_turns(questions)])
        kinds.append([question.kind for question in questions])
    rows = encoder.rows(talks)
    batches = []
    for start in range(0, len(rows), rows_per_batch):
        part, part_kinds = rows[start : start + rows_per_batch], kinds[start : start + rows_per_batch]
        batches.append(
            InterviewBatch(
                input_ids=pad_rows(part, encoder.pad_id),
                replies=torch.tensor([(index, *reply) for index, row in enumerate(part) for reply in row.replies]),
                kinds=[kind for of_row in part_kinds for kind in of_row],
            )
        )
    return batches


class PretrainingData(lightning.LightningDataModule):
    """The made-up world with real conversation mixed in.

    Args:
        work_dir: where the tokenizer is kept between runs.
        data_dir: folder with ``synthetic_persona_chat``; when null, the environment variable ``HYPERNET_DATA_DIR``
            names it.
        real_conversation: whether to mix real conversation in; false needs no data folder.
        vocab_size: entries of the tokenizer.
        context_tokens: longest sequence that the model takes, in tokens.
        tokens_per_step: tokens in a batch, before padding.
        curriculum: how many facts a document has at each step.
        validation_people: held-out people for the exact-answer score.
        seed: of the tokenizer's texts, the batches and the validation people.
    """

    def __init__(
        self,
        work_dir: Path,
        data_dir: Path | None = None,
        real_conversation: bool = True,
        vocab_size: int = 2048,
        context_tokens: int = 1024,
        tokens_per_step: int = 6144,
        curriculum: Curriculum = Curriculum(),  # noqa: B008  (frozen, so sharing it is safe)
        validation_people: int = 64,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.work_dir = work_dir
        self.data_dir = data_dir
        self.real_conversation = real_conversation
        self.vocab_size = vocab_size
        self.context_tokens = context_tokens
        self.tokens_per_step = tokens_per_step
        self.curriculum = curriculum
        self.validation_people = validation_people
        self.seed = seed
        self.tokenizer: PreTrainedTokenizerFast

    def setup(self, stage: str) -> None:
        """Read the conversations; make the tokenizer, or load the one that an earlier start made."""
        from transformers import PreTrainedTokenizerFast

        folder = data_folder(self.data_dir) if self.real_conversation else None
        self.conversations = [] if folder is None else read_conversations(folder, held_out=False)
        folder = self.work_dir / "tokenizer"
        if not (folder / "tokenizer.json").is_file():
            texts = [turn.content for turns in self.conversations for turn in turns]
            texts += world_texts(12_000, seed=self.seed)
            made = train_tokenizer(texts, vocab_size=self.vocab_size, context_tokens=self.context_tokens)
            made.save_pretrained(folder)
        self.tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        self.encoder = ChatEncoder(self.tokenizer)

    def train_dataloader(self) -> DataLoader[WeightedBatch]:
        """Batches from the step that the trainer stands at."""
        first_step = self.trainer.global_step if self.trainer else 0
        batches = PretrainingBatches(
            encoder=self.encoder,
            conversations=self.conversations,
            curriculum=self.curriculum,
            tokens_per_step=self.tokens_per_step,
            seed=self.seed,
            first_step=first_step,
        )
        return DataLoader(batches, batch_size=None)

    def val_dataloader(self) -> DataLoader[InterviewBatch]:
        """Held-out people with the final number of facts."""
        people, facts = self.validation_people, self.curriculum.last_facts
        return DataLoader(interview_batches(self.encoder, people=people, facts=facts, seed=self.seed), batch_size=None)
