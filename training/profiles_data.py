"""Batches for training a hypernetwork: documents, questions about them without the document, and retention rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from hypernet.hypernetworks.hypernetwork import Chunks
from training.batch_numbers import BatchNumbers
from training.chat_format import ChatEncoder, Row, Turn
from training.curriculum import Curriculum
from training.document_chunks import among, split_at_random
from training.packing import IGNORED, PackedRows, pack, pad_rows
from training.pretraining_data import HAYSTACK_FACTS, distractors, haystack, question_turns, without_document
from training.public_data.digest import public_data_digest
from training.public_data.everything import PublicData, read_public_data
from training.public_data.persona_statements import interview_persona
from training.public_data.stories import excerpt
from training.template_encoder import Encoder
from training.world.documents import filler_text, write_document
from training.world.manners import PLAIN
from training.world.people import Person, make_person
from training.world.questions import Question, ask_fact, ask_general, interview, small_talk

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_STORY_WORDS = 35
_FILLER_WORDS = 130
_CONVERSATION_WEIGHT = 0.2
_PERSONA_QUESTIONS = 4
_RETENTION_DOCUMENTS = 4


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """What the documents of a batch are.

    Attributes:
        conversation: share, 0 to 1, of real personas with their conversations.
        personas: share, 0 to 1, of lists of statements with questions about others.
        haystacks: share, 0 to 1, of documents whose facts stand among the sentences of a story.
        negatives: share, 0 to 1, of documents that say nothing about anybody: stories, or next to no text at all.
        many_chunks: share, 0 to 1, of steps in which documents come in a random number of chunks.
        most_chunks: the largest number of chunks that a document then has, those of filler text included.
        several: share, 0 to 1, of those documents that are several of one person, each a chunk, each with the name, the
            manner of speech and facts of its own; as a user brings them one after another.
        manners: whether made-up people may have a manner of speech, in validation too. Without, a small model comes to
            exact replies much sooner, which is what short runs that compare choices want.
    """

    conversation: float = 0.10
    personas: float = 0.07
    haystacks: float = 0.1
    negatives: float = 0.05
    many_chunks: float = 0.4
    most_chunks: int = 4
    several: float = 0.4
    manners: bool = True


@dataclass(frozen=True, kw_only=True)
class Case:
    """A document, and what is asked under its adapter.

    Attributes:
        chunks: the document in pieces; at least one.
        talks: conversations without the document.
        unrelated: talk that has nothing to do with the document.
        kinds: what each of ``talks`` measures; empty where nothing does.
        weight: of a reply token of ``talks`` in the loss.
        preferences: the same conversation twice, with its last reply in character and with one out of it.
    """

    chunks: list[str]
    talks: list[list[Turn]]
    unrelated: list[list[Turn]]
    kinds: list[str] = field(default_factory=list)
    weight: float = 1.0
    preferences: list[tuple[list[Turn], list[Turn]]] = field(default_factory=list)


class CaseBatch(NamedTuple):
    """Cases as tensors.

    Attributes:
        chunks: of all documents, those of a document next to each other.
        counts: number of chunks of each document.
        rows: questions and replies, no document; then, without labels, talk that has nothing to do with the person.
        teacher_rows: for each document one conversation: the document, then all its questions and replies; the labelled
            tokens are those of ``rows``, in the same order. A document that is too long for the teacher has no labels
            here. Null where there is no teacher.
        held: int64, ``documents places``: labels of the places of ``rows`` where the bare model's distribution must be
            kept, ``IGNORED`` elsewhere.
        retention: the unrelated talk alone, that of several documents in a row, as no adapter acts on it; its labels
            are those of ``held``, in the same order. Null where there is none.
        weights: float32, ``documents``: of a reply token in the loss.
        kinds: for every document, what each of its conversations in ``rows`` measures.
        preferences: conversations in pairs, one with its last reply in character, then one with it out of character;
            only the last replies have labels. Null where no document has any.
    """

    chunks: Chunks
    counts: list[int]
    rows: PackedRows
    teacher_rows: PackedRows | None
    held: Tensor
    retention: PackedRows | None
    weights: Tensor
    kinds: list[list[str]]
    preferences: PackedRows | None = None


class ProfileBatches(IterableDataset[CaseBatch]):
    """Endless batches of fresh people; each depends on the seed, its number and its optimiser step alone.

    ``distinct`` limits the people to so many, drawn again and again: for measuring what distinct documents are worth.
    """

    def __init__(
        self,
        *,
        encoder: ChatEncoder,
        public: PublicData,
        curriculum: Curriculum,
        mixture: Mixture,
        documents: int,
        questions: int,
        retention_rows: int,
        seed: int,
        numbers: BatchNumbers,
        distinct: int | None = None,
        teacher_tokens: int = 0,
    ) -> None:
        self._encoder = encoder
        self._public = public
        self._curriculum = curriculum
        self._mixture = mixture
        self._documents = documents
        self._questions = questions
        self._retention_rows = retention_rows
        self._seed = seed
        self._numbers = numbers
        self._distinct = distinct
        self._teacher_tokens = teacher_tokens

    def __iter__(self) -> Iterator[CaseBatch]:
        for number in self._numbers:
            yield self.batch(number)

    def batch(self, number: int) -> CaseBatch:
        """The batch of that ``number``. One in five asks several questions in a row, so that longer chats
        work too; one of many chunks has a quarter fewer documents, so that it takes about as long.
        """
        random = Random(f"profiles {self._seed} {number}")
        step = self._numbers.step_of(number)
        turns = 3 if random.random() < 0.2 else 1
        many = random.random() < self._mixture.many_chunks
        documents = self._documents - (self._documents // 4 if many else 0)
        cases = [self._case(step, turns, many, random) for _ in range(documents)]
        return make_batch(self._encoder, cases, teacher_tokens=self._teacher_tokens)

    def _case(self, step: int, turns: int, many: bool, random: Random) -> Case:
        draw, mixture = random.random(), self._mixture
        if self._public.conversations and draw < mixture.conversation:
            return self._conversation(random)
        draw -= mixture.conversation
        if self._public.personas and 0 <= draw < mixture.personas:
            return self._persona(random)
        draw -= mixture.personas
        if 0 <= draw < mixture.negatives:
            return self._negative(random)
        draw -= mixture.negatives
        hidden = self._distinct is None and 0 <= draw < mixture.haystacks
        if self._distinct is not None:
            chosen = random.randrange(self._distinct)
            random = Random(f"profiles {self._seed} {random.random()}")
            person_random = Random(f"distinct {self._seed} {chosen}")
            whole = self._person(person_random, self._curriculum.last_facts)
            # As many facts as the curriculum has come to: always the same ones of this person, in the same words.
            person = replace(whole, facts=dict(islice(whole.facts.items(), self._curriculum.draw(step, random))))
            text = write_document(person, person_random)
        elif hidden:
            facts = min(self._curriculum.draw(step, random), HAYSTACK_FACTS)
            person = self._person(random, facts)
            text = haystack(self._public, person, random)
        else:
            person = self._person(random, self._curriculum.draw(step, random))
            text = write_document(person, random, distractors=distractors(self._public, random))
        chunks = [text]
        if many:
            several = self._distinct is None and not hidden and random.random() < mixture.several
            chunks = self._several(person, random) if several else self._cut(text, random)
        questions = interview(person, random, turns=self._questions, general=False)
        starts = range(0, self._questions - self._questions % turns, turns)
        return Case(
            chunks=chunks,
            talks=[question_turns(questions[start : start + turns]) for start in starts],
            unrelated=[self._unrelated(random, talk=True) for _ in range(self._retention_rows)],
        )

    def _person(self, random: Random, facts: int) -> Person:
        return _speaking(make_person(random, fact_count=facts, reserved=False), manners=self._mixture.manners)

    def _cut(self, text: str, random: Random) -> list[str]:
        """``text`` in a random number of chunks, some of the document's places taken by chunks of no consequence."""
        count = random.randint(1, self._mixture.most_chunks)
        fillers = random.randint(0, count - 1)
        chunks = split_at_random(text, count - fillers, random)
        return among(chunks, [self._filler(random) for _ in range(fillers)], random)

    def _several(self, person: Person, random: Random) -> list[str]:
        """Documents about ``person``, at most as many as the mixture has chunks; no fact but the name is in two."""
        keys = [key for key in person.facts if key != "name"]
        random.shuffle(keys)
        count = random.randint(1, max(1, min(self._mixture.most_chunks, len(keys))))
        parts = [{key: person.facts[key] for key in ("name", *keys[start::count])} for start in range(count)]
        return [write_document(replace(person, facts=part), random) for part in parts]

    def _filler(self, random: Random) -> str:
        if self._public.sections and random.random() < 0.7:
            return excerpt(random.choice(self._public.sections), _FILLER_WORDS, random)
        return filler_text(random, sentences=random.randint(3, 16))

    def _conversation(self, random: Random) -> Case:
        """A real persona and parts of its conversation."""
        persona, *talk = random.choice(self._public.conversations)
        starts = random.sample(range(0, len(talk) - 1, 2), min(self._questions // 2, len(talk) // 2))
        return Case(
            chunks=[persona.content],
            talks=[talk[start : start + 2] for start in starts],
            unrelated=[self._unrelated(random, talk=False) for _ in range(self._retention_rows)],
            weight=_CONVERSATION_WEIGHT,
        )

    def _persona(self, random: Random) -> Case:
        persona = random.choice(self._public.personas)
        persona = persona.reversed() if random.random() < 0.3 else persona
        document, pairs = interview_persona(persona, random, questions=_PERSONA_QUESTIONS)
        return Case(
            chunks=[document],
            talks=[list(pair) for pair in pairs],
            unrelated=[self._unrelated(random, talk=True) for _ in range(self._retention_rows)],
        )

    def _negative(self, random: Random) -> Case:
        nobody = make_person(random, fact_count=1, reserved=False)
        asked = without_document(nobody, random, turns=self._questions, general=False)
        return Case(
            chunks=[self._filler(random) if random.random() < 0.7 else random.choice(("", ".", "-", "...", "\n"))],
            talks=[question_turns([question]) for question in asked],
            unrelated=[self._unrelated(random, talk=True) for _ in range(self._retention_rows)],
        )

    def _unrelated(self, random: Random, *, talk: bool) -> list[Turn]:
        """A general question, a piece of a story, or, if ``talk``, a piece of somebody's conversation."""
        draw = random.random()
        if self._public.sections and draw < 0.25:
            section = excerpt(random.choice(self._public.sections), _STORY_WORDS, random)
            return [Turn(role="user", content="Tell me a story."), Turn(role="assistant", content=section)]
        if talk and self._public.conversations and draw < 0.5:
            said = random.choice(self._public.conversations)[1:]
            # From the middle of a conversation: its greetings are the person's own manner's business.
            starts = range(2, len(said) - 1, 2)
            if starts:
                start = random.choice(starts)
                return said[start : start + 2 * random.choice((1, 1, 2, 3))]
        return question_turns([ask_general(random, reserved=False)])


def make_batch(encoder: Encoder, cases: Sequence[Case], *, teacher_tokens: int = 0) -> CaseBatch:
    """Tokenise, pad and pack one batch.

    Args:
        encoder: turns text into tokens.
        cases: documents and conversations; at least one.
        teacher_tokens: the longest document with its conversations that a teacher reads, in tokens; no teacher if 0.
    """
    chunks = [chunk for case in cases for chunk in case.chunks]
    chunk_rows = encoder.rows([[Turn(role="system", content=chunk)] for chunk in chunks])
    ids = pad_rows(chunk_rows, encoder.pad_id)
    lengths = torch.tensor([len(row.ids) for row in chunk_rows])
    talks = [encoder.rows(case.talks) for case in cases]
    unrelated = [encoder.rows(case.unrelated) for case in cases]
    rows = pack([asked + aside for asked, aside in zip(talks, unrelated, strict=True)], encoder.pad_id)
    aside = rows.conversations >= torch.tensor([[len(asked)] for asked in talks])
    return CaseBatch(
        chunks=Chunks(texts=tuple(chunks), ids=ids, mask=torch.arange(ids.shape[1]) < lengths[:, None]),
        counts=[len(case.chunks) for case in cases],
        rows=rows._replace(labels=rows.labels.masked_fill(aside, IGNORED)),
        teacher_rows=_teacher_rows(encoder, cases, most=teacher_tokens) if teacher_tokens else None,
        held=rows.labels.masked_fill(~aside, IGNORED),
        retention=pack(_joined(unrelated), encoder.pad_id) if any(unrelated) else None,
        weights=torch.tensor([case.weight for case in cases]),
        kinds=[case.kinds for case in cases],
        preferences=_preferences(encoder, cases),
    )


def _teacher_rows(encoder: Encoder, cases: Sequence[Case], *, most: int) -> PackedRows | None:
    told = [
        [Turn(role="system", content="\n".join(case.chunks)), *(turn for talk in case.talks for turn in talk)]
        for case in cases
    ]
    rows = [encoder.rows([talk]) for talk in told]
    fitting = [[row for row in of_case if len(row.ids) <= most] for of_case in rows]
    return pack(fitting, encoder.pad_id) if any(fitting) else None


def _joined(rows: list[list[Row]]) -> list[list[Row]]:
    """Rows of some documents next to each other, as those of one: next to no padding that way."""
    return [
        list(chain(*rows[start : start + _RETENTION_DOCUMENTS])) for start in range(0, len(rows), _RETENTION_DOCUMENTS)
    ]


def _preferences(encoder: Encoder, cases: Sequence[Case]) -> PackedRows | None:
    if not any(case.preferences for case in cases):
        return None
    pairs = [encoder.rows([talk for pair in case.preferences for talk in pair]) for case in cases]
    # What was said before the last reply is the same in both, so it says nothing about which is preferred.
    last = [[replace(row, replies=row.replies[-1:]) for row in rows] for rows in pairs]
    return pack(last, encoder.pad_id)


def _speaking(person: Person, *, manners: bool) -> Person:
    return person if manners else replace(person, manner=PLAIN)


def held_out_batches(
    encoder: ChatEncoder,
    *,
    people: int,
    facts: int,
    questions: int,
    seed: int,
    documents_per_batch: int = 32,
    manners: bool = True,
) -> list[CaseBatch]:
    """People, values and names that training never draws, general questions that it never asks; every conversation one
    question. Every other batch asks in phrasings kept for evaluation, and has documents in three chunks, one of them
    filler. Without ``manners`` everybody speaks plainly.
    """
    random = Random(f"held out {seed} {facts}")
    batches = []
    for index in range(-(-people // documents_per_batch)):
        unseen = index % 2 == 1
        cases = []
        for _ in range(documents_per_batch):
            person = _speaking(make_person(random, fact_count=facts, reserved=True), manners=manners)
            text = write_document(person, random)
            asked = held_out_interview(person, random, questions=questions, unseen_phrasing=unseen)
            chunks = among(split_at_random(text, 2, random), [filler_text(random, sentences=8)], random)
            cases.append(
                Case(
                    chunks=chunks if unseen else [text],
                    talks=[question_turns([question]) for question in asked],
                    unrelated=[question_turns([ask_general(random, reserved=True)])],
                    kinds=[f"unseen-{q.kind}" if unseen else q.kind for q in asked],
                )
            )
        batches.append(make_batch(encoder, cases))
    return batches


def held_out_interview(
    person: Person, random: Random, *, questions: int, unseen_phrasing: bool = False
) -> list[Question]:
    """``questions`` questions: stated facts, and small talk for the rest."""
    keys = random.sample(list(person.facts), min(questions, len(person.facts)))
    asked = [ask_fact(person, key, random, unseen_phrasing=unseen_phrasing) for key in keys]
    return asked + [small_talk(person, random) for _ in range(questions - len(asked))]


class ProfileData(lightning.LightningDataModule):
    """Made-up people and public data for training a hypernetwork, with unrelated talk for retention.

    Args:
        base: folder of the base model, whose tokenizer is used.
        data_dir: folder of public data sets; when null, the environment variable ``HYPERNET_DATA_DIR`` names it.
        public_data: whether to mix public data in; false needs no data folder.
        curriculum: how many facts a document has at each step.
        mixture: what the documents are.
        documents: number of documents in a batch.
        questions: number of questions asked about each document.
        retention_rows: number of unrelated rows for each document.
        distinct_people: number of people to draw from; null makes a new one for every document.
        validation_people: number of held-out people for the exact-answer score, in whole batches of 32.
        seed: number that randomness starts from: of the batches and the validation people.
    """

    def __init__(
        self,
        base: Path,
        data_dir: Path | None = None,
        public_data: bool = True,
        curriculum: Curriculum = Curriculum(),  # noqa: B008  (frozen, so sharing it is safe)
        mixture: Mixture = Mixture(),
        documents: int = 32,
        questions: int = 8,
        retention_rows: int = 2,
        distinct_people: int | None = None,
        validation_people: int = 128,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.base = base
        self.data_dir = data_dir
        self.public_data = public_data
        self.curriculum = curriculum
        self.mixture = mixture
        self.documents = documents
        self.questions = questions
        self.retention_rows = retention_rows
        self.distinct_people = distinct_people
        self.validation_people = validation_people
        self.seed = seed
        self.teacher_tokens = 0
        self.tokenizer: PreTrainedTokenizerFast

    def setup(self, stage: str) -> None:
        """Load the tokenizer and read the public data."""
        from transformers import PreTrainedTokenizerFast

        self.tokenizer = PreTrainedTokenizerFast.from_pretrained(self.base)
        self.encoder = ChatEncoder(self.tokenizer)
        self.public = read_public_data(self.data_dir) if self.public_data else PublicData()

    @property
    def sources(self) -> list[str]:
        """Data sets with their licences, for the manifest."""
        return ["made-up world (this project, Apache-2.0)", *self.public.sources]

    @property
    def digest(self) -> str:
        """SHA-256 over the public data that is mixed in."""
        return public_data_digest(self.data_dir if self.public_data else None, used=self.public_data)

    @property
    def described(self) -> dict[str, Any]:
        """Sizes of batches and documents, for the manifest."""
        return {
            "documents_per_step": self.documents,
            "questions_per_document": self.questions,
            "facts_per_document": self.curriculum.last_facts,
        }

    @property
    def trained_chunks(self) -> int:
        """The most chunks that a document of training has."""
        return self.mixture.most_chunks if self.mixture.many_chunks else 1

    def train_dataloader(self) -> DataLoader[CaseBatch]:
        """Batches from the step that the trainer stands at."""
        batches = ProfileBatches(
            encoder=self.encoder,
            public=self.public,
            curriculum=self.curriculum,
            mixture=self.mixture,
            documents=self.documents,
            questions=self.questions,
            retention_rows=self.retention_rows,
            seed=self.seed,
            numbers=BatchNumbers.of(self.trainer),
            distinct=self.distinct_people,
            teacher_tokens=self.teacher_tokens,
        )
        return DataLoader(batches, batch_size=None)

    def val_dataloader(self) -> DataLoader[CaseBatch]:
        """Held-out people with the final number of facts."""
        return self._held_out(seed=self.seed)

    def test_dataloader(self) -> DataLoader[CaseBatch]:
        """Other held-out people than those of validation."""
        return self._held_out(seed=self.seed + 1)

    def _held_out(self, *, seed: int) -> DataLoader[CaseBatch]:
        facts = self.curriculum.last_facts
        batches = held_out_batches(
            self.encoder,
            people=self.validation_people,
            facts=facts,
            questions=facts,
            seed=seed,
            manners=self.mixture.manners,
        )
        return DataLoader(batches, batch_size=None)
