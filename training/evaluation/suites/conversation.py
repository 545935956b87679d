"""Real conversation: how much a persona's adapter helps to say what that persona says."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from hypernet.adapters import Adapter
from training.chat_format import Turn
from training.evaluation.bench import Bench
from training.evaluation.mean_adapter import mean_adapter
from training.evaluation.measures import ARMS, Arm
from training.evaluation.record import Record
from training.evaluation.respondent import Block, Respondent
from training.evaluation.stop_words import STOP_WORDS
from training.evaluation.suites.profiles import SEED
from training.evaluation.transcripts import Telling, fit, messages_of, reply_losses, transcript
from training.public_data.persona_chat import SOURCE, persona_lines, read_conversations

CANDIDATES = 20
"""Replies that the true one is ranked among, itself included."""

_CONTEXT_TURNS = 4
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")


@dataclass(frozen=True, kw_only=True)
class Talk:
    """A conversation as the speaker with the persona tells it.

    Attributes:
        persona: the document.
        turns: the conversation, the other speaker first.
        speaker: number of the persona: talks of one persona are not independent.
    """

    persona: str
    turns: tuple[Turn, ...]
    speaker: int


def content_words(text: str) -> set[str]:
    """The words of ``text`` that carry meaning: three letters or more, and none of the stop words."""
    return {word for word in _WORD.findall(text.lower()) if len(word) > 2 and word not in STOP_WORDS}


def conversation(bench: Bench, count: int) -> Record:
    """``count`` conversations of held-out personas: the loss of their replies, and the true reply's rank among others.

    A reply is profile-bearing if it shares a content word with the speaker's own profile. ``gain`` is how many nats a
    token an arm saves against the bare model, ``gain-ratio`` its share of what the document in the prompt saves.
    """
    record = Record()
    talks = held_out_talks(bench.data, count)
    adapters = bench.write([talk.persona for talk in talks])
    controls: dict[Arm, Sequence[Adapter | None]] = {
        "adapter": adapters,
        "other": _others(talks, adapters),
        "mean": [_mean(bench)] * len(talks),
    }
    with bench.respondent() as respondent:
        _losses(bench, respondent, record, talks, controls)
        _ranks(bench, respondent, record, talks, controls)
    shared = shared_with_training(bench.data, talks)
    if shared:
        record.note(f"{shared} of {len(talks)} conversations have a persona that shares a line with one of training.")
    record.note(
        f"Conversations of held-out personas: {SOURCE}. The mean arm averages {bench.mean_people} training personas."
    )
    return record


def held_out_talks(data_dir: Path, count: int) -> list[Talk]:
    """Conversations told by a held-out persona; at most ``count`` of them."""
    told = [
        turns
        for turns in read_conversations(data_dir, held_out=True)
        if any(turn.role == "assistant" for turn in turns)
    ]
    Random(f"conversation {SEED}").shuffle(told)
    known = dict.fromkeys(persona_lines(turns[0].content) for turns in told)
    speakers = {persona: number for number, persona in enumerate(known)}
    return [
        Talk(
            persona=turns[0].content,
            turns=tuple(turns[1:]),
            speaker=speakers[persona_lines(turns[0].content)],
        )
        for turns in told[:count]
    ]


def shared_with_training(data_dir: Path, talks: Sequence[Talk]) -> int:
    """How many of ``talks`` have a persona with a line that stands, in any case, in a persona of training."""
    known = {line for turns in read_conversations(data_dir, held_out=False) for line in persona_lines(turns[0].content)}
    return sum(not known.isdisjoint(persona_lines(talk.persona)) for talk in talks)


def _others(talks: Sequence[Talk], adapters: Sequence[Adapter]) -> list[Adapter | None]:
    """For each talk, the adapter of the next one of another persona."""
    found: list[Adapter | None] = []
    for index, talk in enumerate(talks):
        following = [*range(index + 1, len(talks)), *range(index)]
        other = next((at for at in following if talks[at].speaker != talk.speaker), None)
        found.append(None if other is None else adapters[other])
    return found


def _mean(bench: Bench) -> Adapter:
    personas = list(dict.fromkeys(turns[0].content for turns in read_conversations(bench.data, held_out=False)))
    return mean_adapter(bench.write(personas[: bench.mean_people], what="mean personas"))


def _losses(
    bench: Bench,
    respondent: Respondent,
    record: Record,
    talks: Sequence[Talk],
    controls: dict[Arm, Sequence[Adapter | None]],
) -> None:
    tellings = [
        fit(bench.base, Telling(transcript=transcript(bench.base, talk.turns), document=talk.persona)) for talk in talks
    ]
    nobody: list[Adapter | None] = [None] * len(talks)
    found = {
        arm: reply_losses(
            bench.base,
            respondent,
            tellings,
            controls.get(arm, nobody),
            arm=arm,
            progress=lambda done, arm=arm: bench.progress(f"losses {arm}", done, len(talks)),  # type: ignore[misc]
        )
        for arm in ARMS
    }
    for index, talk in enumerate(talks):
        known = content_words(talk.persona)
        replies = [turn for turn in talk.turns if turn.role == "assistant"]
        for number, (reply, (bare, tokens)) in enumerate(zip(replies, found["none"][index])):  # cut talks have fewer
            kind = "profile-bearing" if known & content_words(reply.content) else "others"
            in_prompt = found["prompt"][index][number][0]
            for arm in ARMS:
                nats = found[arm][index][number][0]
                record.amount(f"loss/{kind}", arm, nats, of=tokens, cluster=talk.speaker)
                record.amount(f"gain/{kind}", arm, bare - nats, of=tokens, cluster=talk.speaker)
                record.amount(f"gain-ratio/{kind}", arm, bare - nats, of=bare - in_prompt, cluster=talk.speaker)


def _ranks(
    bench: Bench,
    respondent: Respondent,
    record: Record,
    talks: Sequence[Talk],
    controls: dict[Arm, Sequence[Adapter | None]],
) -> None:
    """Whether the true reply has the lowest mean loss a token of all candidates; the first is the true one."""
    tasks = _ranking_tasks(bench, talks)
    if not tasks:
        record.note(f"No ranking: too few other replies for {CANDIDATES - 1} to rank the true one among.")
    for arm in ARMS:
        blocks = []
        for index, context, replies in tasks:
            before = (*(bench.base.render_document(talks[index].persona) if arm == "prompt" else ()), *context)
            # The last token before a reply opens every candidate: its successor is the first that is scored.
            suffixes = tuple((before[-1], *reply) for reply in replies)
            adapter = controls[arm][index] if arm in controls else None
            blocks.append(Block(prefix=before[:-1], suffixes=suffixes, adapter=adapter))
        for done, (place, losses) in enumerate(respondent.losses(blocks), start=1):
            means = [float(loss.double().mean()) for loss in losses]
            hit = means[0] < min(means[1:])
            record.hit(f"rank-1-of-{CANDIDATES}", arm, hit, cluster=talks[tasks[place][0]].speaker)
            bench.progress(f"ranks {arm}", done, len(blocks))


def _ranking_tasks(
    bench: Bench, talks: Sequence[Talk]
) -> list[tuple[int, tuple[int, ...], tuple[tuple[int, ...], ...]]]:
    """Index of a talk, the turns before one of its profile-bearing replies, and the candidates, the true one first."""
    random = Random(f"ranking {SEED}")
    everybody = [(talk.speaker, turn.content) for talk in talks for turn in talk.turns if turn.role == "assistant"]
    tasks = []
    for index, talk in enumerate(talks):
        known = content_words(talk.persona)
        bearing = [
            at
            for at, turn in enumerate(talk.turns)
            if at and turn.role == "assistant" and known & content_words(turn.content)
        ]
        if not bearing:
            continue
        at = random.choice(bearing)
        true = talk.turns[at].content
        strange = sorted({said for speaker, said in everybody if speaker != talk.speaker and said != true})
        if len(strange) < CANDIDATES - 1:
            continue
        context = messages_of(talk.turns[max(0, at - _CONTEXT_TURNS) : at])
        before = bench.base.render_chat(context)
        replies = [true, *random.sample(strange, CANDIDATES - 1)]
        tasks.append((index, tuple(before), tuple(_reply_ids(bench, context, reply, len(before)) for reply in replies)))
    return tasks


def _reply_ids(bench: Bench, context: list[dict[str, str]], reply: str, start: int) -> tuple[int, ...]:
    whole = bench.base.render_chat([*context, {"role": "assistant", "content": reply}], add_generation_prompt=False)
    return tuple(whole[start:])
