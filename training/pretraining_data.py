"""Batches for pre-training the base model: people in the prompt, questions without any, public data."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from training.batch_numbers import BatchNumbers
from training.chat_format import ChatEncoder, Row, Turn
from training.curriculum import Curriculum
from training.packing import pad_rows
from training.public_data.digest import public_data_digest
from training.public_data.everything import PublicData, read_public_data
from training.public_data.persona_statements import Persona, interview_persona
from training.public_data.stories import excerpt, sentences_of
from training.tokenizer import train_tokenizer, world_texts
from training.world.documents import filler_text, write_document
from training.world.manners import PLAIN
from training.world.people import Person, make_person
from training.world.questions import Question, ask_absent, ask_general, interview

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_BATCHES_PER_POOL = 8
_OTHER_TOKEN_WEIGHT = 0.1
_CONVERSATION_WEIGHT, _STORY_WEIGHT, _PERSONA_WEIGHT = 0.5, 0.3, 2.0
_STORY_WORDS = 120

_HAYSTACK_SHARE, _HAYSTACK_WORDS = 0.1, 130
HAYSTACK_FACTS = 5
"""The most facts of a document whose facts are hard to find, the name included."""


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


def question_turns(questions: list[Question]) -> list[Turn]:
    """The questions and their replies as alternating turns."""
    return [
        turn
        for question in questions
        for turn in (Turn(role="user", content=question.text), Turn(role="assistant", content=question.reply))
    ]


def without_document(person: Person, random: Random, *, turns: int, general: bool | None = None) -> list[Question]:
    """What the model answers when it was told nothing: general questions (of the side that ``general`` says, see
    `ask_general`) plainly, personal ones with a refusal.
    """
    blank = Person(facts={"name": person.name}, manner=PLAIN, gender=person.gender)
    return [
        ask_general(random, reserved=general) if random.random() < 0.5 else ask_absent(blank, random)
        for _ in range(turns)
    ]


def distractors(public: PublicData, random: Random) -> list[str]:
    """Real sentences to stand among those that matter: none for two documents in three."""
    if not public.sentences or random.random() < 0.67:
        return []
    return random.sample(public.sentences, random.randint(1, 3))


def haystack(public: PublicData, person: Person, random: Random) -> str:
    """First-person notes that state all of ``person`` somewhere among the sentences of a story, or sentences of no
    consequence where there are no stories. Without such documents a story means that there is nothing to know.
    """
    if public.sections:
        words = excerpt(random.choice(public.sections), _HAYSTACK_WORDS, random).split()
        told = " ".join(words[: random.randint(_HAYSTACK_WORDS // 4, _HAYSTACK_WORDS)])
    else:
        told = filler_text(random, sentences=random.randint(3, 12))
    return write_document(person, random, form="notes", distractors=sentences_of(told))


class PretrainingBatches(IterableDataset[WeightedBatch]):
    """Endless batches; the one for a step depends on the seed and the step alone, so a resumed run sees what it would
    have seen.
    """

    def __init__(
        self,
        *,
        encoder: ChatEncoder,
        public: PublicData,
        curriculum: Curriculum,
        tokens_per_step: int,
        seed: int,
        numbers: BatchNumbers,
    ) -> None:
        self._encoder = encoder
        self._public = public
        self._curriculum = curriculum
        self._tokens_per_step = tokens_per_step
        self._seed = seed
        self._numbers = numbers
        self._drawn: tuple[int, list[WeightedBatch]] = (-1, [])

    def __iter__(self) -> Iterator[WeightedBatch]:
        for number in self._numbers:
            pool, place = divmod(number, _BATCHES_PER_POOL)
            if self._drawn[0] != pool:
                self._drawn = pool, self._pool(pool)
            yield self._drawn[1][place]

    def _pool(self, pool: int) -> list[WeightedBatch]:
        """Several batches at once: rows of like length together, so that little is spent on padding."""
        random = Random(f"pretraining {self._seed} {pool}")
        step = self._numbers.step_of(pool * _BATCHES_PER_POOL)
        weighted: list[tuple[Row, float]] = []
        tokens = 0
        while tokens < self._tokens_per_step * _BATCHES_PER_POOL:
            talks = [self._one(step, random) for _ in range(32)]
            rows = self._encoder.rows([turns for turns, _ in talks])
            weighted += [(row, weight) for row, (_, weight) in zip(rows, talks, strict=True)]
            tokens += sum(len(row.ids) for row in rows)
        weighted.sort(key=lambda pair: len(pair[0].ids))
        batches = self._split(weighted, tokens // _BATCHES_PER_POOL + 1)
        random.shuffle(batches)
        return batches

    def _one(self, step: int, random: Random) -> tuple[list[Turn], float]:
        """One conversation and the weight of its replies."""
        draw = random.random()
        if draw < 0.22 and self._public.conversations:
            return self._from_public_data(random)
        facts = self._curriculum.draw(step, random)
        hidden = draw <= 0.93 and random.random() < _HAYSTACK_SHARE
        facts = min(facts, HAYSTACK_FACTS) if hidden else facts
        person = make_person(random, fact_count=facts, reserved=False)
        if draw > 0.93:
            return question_turns(without_document(person, random, turns=random.randint(1, 5))), 1.0
        if hidden:
            document = haystack(self._public, person, random)
        else:
            document = write_document(person, random, distractors=distractors(self._public, random))
        questions = question_turns(interview(person, random, turns=min(facts + 2, 9)))
        return [Turn(role="system", content=document), *questions], 1.0

    def _from_public_data(self, random: Random) -> tuple[list[Turn], float]:
        draw = random.random()
        if draw < 0.4:
            turns = random.choice(self._public.conversations)
            start = random.randrange(1, len(turns), 2) if random.random() < 0.5 else 1
            return [turns[0], *turns[start : start + random.randint(2, 8)]], _CONVERSATION_WEIGHT
        section = " ".join(random.choice(self._public.sections).split()[:_STORY_WORDS])
        if draw < 0.5:
            return [
                Turn(role="user", content="Tell me a story."),
                Turn(role="assistant", content=section),
            ], _STORY_WEIGHT
        if draw < 0.65:
            # A document that says nothing about anybody: questions about the person are declined.
            nobody = make_person(random, fact_count=1, reserved=False)
            asked = question_turns(without_document(nobody, random, turns=random.randint(2, 5)))
            return [Turn(role="system", content=section), *asked], 1.0
        document, pairs = interview_persona(
            random.choice(self._public.personas), random, questions=8, statements=random.randint(3, 8)
        )
        talk = [Turn(role="system", content=document), *(turn for pair in pairs for turn in pair)]
        return talk, _PERSONA_WEIGHT

    def _split(self, weighted: list[tuple[Row, float]], budget: int) -> list[WeightedBatch]:
        groups: list[list[tuple[Row, float]]] = [[]]
        used = 0
        for pair in weighted:
            if used >= budget and len(groups) < _BATCHES_PER_POOL:
                groups.append([])
                used = 0
            groups[-1].append(pair)
            used += len(pair[0].ids)
        while len(groups) < _BATCHES_PER_POOL:
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
    encoder: ChatEncoder, *, personas: Sequence[Persona], people: int, facts: int, seed: int, rows_per_batch: int = 32
) -> list[InterviewBatch]:
    """Held-out people in the prompt, with questions of every kind; values and people never seen in training.

    Every other person is asked in phrasings kept for evaluation, which count as a kind of their own. ``personas``, held
    out too, answer whether they would say something.
    """
    random = Random(f"validation {seed} {facts}")
    talks, kinds = [], []
    for index in range(people):
        unseen = index % 2 == 1
        person = make_person(random, fact_count=facts, reserved=True)
        questions = interview(person, random, turns=8, unseen_phrasing=unseen)
        talks.append([Turn(role="system", content=write_document(person, random)), *question_turns(questions)])
        stated = ("closed", "open")
        kinds.append(["unseen" if unseen and q.kind in stated else q.kind for q in questions])
    for persona in personas:
        document, pairs = interview_persona(persona, random, questions=8)
        talks.append([Turn(role="system", content=document), *(turn for pair in pairs for turn in pair)])
        kinds.append(["persona"] * len(pairs))
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
    """The made-up world with public data mixed in.

    Args:
        work_dir: where the tokenizer is kept between runs.
        data_dir: folder of public data sets; when null, the environment variable ``HYPERNET_DATA_DIR`` names it.
        public_data: whether to mix public data in; false needs no data folder.
        vocab_size: number of entries of the tokenizer.
        context_tokens: longest sequence that the model takes, in tokens.
        tokens_per_step: tokens in a batch, before padding.
        curriculum: how many facts a document has at each step.
        validation_people: number of held-out people for the exact-answer score.
        tokenizer_texts: number of made-up texts that the tokenizer is trained on, public data aside.
        seed: number that randomness starts from: of the tokenizer's texts, the batches and the validation people.
    """

    def __init__(
        self,
        work_dir: Path,
        data_dir: Path | None = None,
        public_data: bool = True,
        vocab_size: int = 2048,
        context_tokens: int = 1024,
        tokens_per_step: int = 6144,
        curriculum: Curriculum = Curriculum(),  # noqa: B008  (frozen, so sharing it is safe)
        validation_people: int = 64,
        tokenizer_texts: int = 10_000,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.work_dir = work_dir
        self.data_dir = data_dir
        self.public_data = public_data
        self.vocab_size = vocab_size
        self.context_tokens = context_tokens
        self.tokens_per_step = tokens_per_step
        self.curriculum = curriculum
        self.validation_people = validation_people
        self.tokenizer_texts = tokenizer_texts
        self.seed = seed
        self.tokenizer: PreTrainedTokenizerFast

    def setup(self, stage: str) -> None:
        """Read the public data; make the tokenizer, or load the one that an earlier start made."""
        from transformers import PreTrainedTokenizerFast

        self.public = read_public_data(self.data_dir) if self.public_data else PublicData()
        folder = self.work_dir / "tokenizer"
        if not (folder / "tokenizer.json").is_file():
            texts = [turn.content for turns in self.public.conversations for turn in turns]
            texts += self.public.sections[::4] + self.public.sentences
            texts += [statement for persona in self.public.personas for statement in persona.agrees[::8]]
            texts += world_texts(self.tokenizer_texts, seed=self.seed)
            made = train_tokenizer(texts, vocab_size=self.vocab_size, context_tokens=self.context_tokens)
            made.save_pretrained(folder)
        self.tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        self.encoder = ChatEncoder(self.tokenizer)

    def train_dataloader(self) -> DataLoader[WeightedBatch]:
        """Batches from the step that the trainer stands at."""
        batches = PretrainingBatches(
            encoder=self.encoder,
            public=self.public,
            curriculum=self.curriculum,
            tokens_per_step=self.tokens_per_step,
            seed=self.seed,
            numbers=BatchNumbers.of(self.trainer),
        )
        return DataLoader(batches, batch_size=None)

    @property
    def sources(self) -> list[str]:
        """Data sets with their licences, for the manifest."""
        return ["made-up world (this project, Apache-2.0)", *self.public.sources]

    @property
    def digest(self) -> str:
        """SHA-256 over the public data that is mixed in."""
        return public_data_digest(self.data_dir if self.public_data else None, used=self.public_data)

    def val_dataloader(self) -> DataLoader[InterviewBatch]:
        """Held-out people with the final number of facts."""
        return self._interviews(self.seed)

    def test_dataloader(self) -> DataLoader[InterviewBatch]:
        """Other held-out people than those of validation."""
        return self._interviews(self.seed + 1)

    def _interviews(self, seed: int) -> DataLoader[InterviewBatch]:
        personas = read_public_data(self.data_dir, held_out=True).personas if self.public_data else ()
        batches = interview_batches(
            self.encoder,
            personas=personas,
            people=self.validation_people,
            facts=self.curriculum.last_facts,
            seed=seed,
        )
        return DataLoader(batches, batch_size=None)
