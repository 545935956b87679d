"""What somebody's adapter does to talk that has nothing to do with them."""

from dataclasses import dataclass
from random import Random

from hypernet.adapters import Adapter
from training.chat_format import Turn
from training.evaluation.bench import Bench
from training.evaluation.cases import Case
from training.evaluation.measures import ARMS, Arm
from training.evaluation.record import Record
from training.evaluation.suites.profiles import SEED, general_probe
from training.evaluation.transcripts import Telling, fit, reply_losses, transcript
from training.public_data.persona_chat import read_conversations
from training.public_data.stories import read_stories
from training.world.documents import write_document
from training.world.people import make_person

_QUESTIONS = 6
_STORY_WORDS = 120
_TURNS = 8


def interference(bench: Bench, count: int) -> Record:
    """General questions and real text, held out, under the adapters of ``count`` people whom neither concerns.

    ``loss-ratio`` is the loss over the bare model's on the same text. Without a folder of public data only the
    questions are asked.
    """
    record = Record()
    random = Random(f"interference {SEED}")
    people = [make_person(random, fact_count=4 + index % 9, reserved=True) for index in range(count)]
    cases = [
        Case(
            document=write_document(person, random),
            probes=tuple(general_probe(random) for _ in range(_QUESTIONS)),
            person=index,
        )
        for index, person in enumerate(people)
    ]
    adapters = bench.write([case.document for case in cases])
    bench.ask(record, cases, adapters, label="questions")
    if bench.data_or_none is None:
        record.note("No text was scored: no folder of public data is named (--data-dir or HYPERNET_DATA_DIR).")
        return record
    for name, texts in (("stories", _stories(bench, random)), ("conversation", _talks(bench, random))):
        _score(bench, record, cases, adapters, texts[:count], name=name)
        if len(texts) < count:
            record.note(f"There are {len(texts)} held-out texts of the kind {name}; each is scored once.")
    return record


@dataclass(frozen=True, kw_only=True)
class Text:
    """Something real that nobody trained on.

    Attributes:
        turns: as a chat.
        source: number of the story or conversation that it is part of; texts of one are not independent.
    """

    turns: list[Turn]
    source: int


def _score(
    bench: Bench, record: Record, cases: list[Case], adapters: list[Adapter], texts: list[Text], *, name: str
) -> None:
    cases, adapters = cases[: len(texts)], adapters[: len(texts)]
    tellings = [
        fit(bench.base, Telling(transcript=transcript(bench.base, text.turns), document=case.document))
        for text, case in zip(texts, cases, strict=True)
    ]
    nobody: list[Adapter | None] = [None] * len(cases)
    controls: dict[Arm, list[Adapter | None]] = {
        "adapter": list(adapters),
        "other": [*adapters[1:], adapters[0]],
        "mean": [bench.mean] * len(cases),
    }
    bare: list[list[tuple[float, int]]] = []
    with bench.respondent() as respondent:
        for arm in ARMS:
            found = reply_losses(
                bench.base,
                respondent,
                tellings,
                controls.get(arm, nobody),
                arm=arm,
                progress=lambda done, arm=arm: bench.progress(f"{name} {arm}", done, len(cases)),  # type: ignore[misc]
            )
            bare = found if arm == "none" else bare
            for text, replies, without in zip(texts, found, bare, strict=True):
                for (nats, tokens), (bare_nats, _) in zip(replies, without, strict=True):
                    record.amount(f"loss/{name}", arm, nats, of=tokens, cluster=text.source)
                    record.amount(f"loss-ratio/{name}", arm, nats, of=bare_nats, cluster=text.source)


def _stories(bench: Bench, random: Random) -> list[Text]:
    """Beginnings of sections of held-out stories, told on request, in random order."""
    texts = []
    for source, sections in enumerate(read_stories(bench.data, held_out=True).values()):
        for section in sections:
            told = Turn(role="assistant", content=" ".join(section.split()[:_STORY_WORDS]))
            texts.append(Text(turns=[Turn(role="user", content="Tell me a story."), told], source=source))
    random.shuffle(texts)
    return texts


def _talks(bench: Bench, random: Random) -> list[Text]:
    """Stretches of held-out conversations between others, without anybody's persona, in random order. They are of the
    middle, since greetings are the person's own manner's business.
    """
    talks = [turns[1:] for turns in read_conversations(bench.data, held_out=True)]
    random.shuffle(talks)
    # Every dialogue is told from each side; its longest turn is the same from both.
    named = [max((turn.content for turn in talk), key=len) for talk in talks]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(named))}
    starts = [2 if len(talk) > 3 else 0 for talk in talks]
    return [
        Text(turns=talk[start : start + _TURNS], source=numbers[name])
        for talk, start, name in zip(talks, starts, named, strict=True)
    ]
