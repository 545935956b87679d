"""Would this persona say that? Statements of personas that no training read."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from hypernet.adapters import Adapter
from training.evaluation.bench import Bench
from training.evaluation.mean_adapter import mean_adapter
from training.evaluation.measures import ARMS, Arm
from training.evaluation.record import Record
from training.evaluation.respondent import Block
from training.evaluation.suites.profiles import SEED
from training.public_data.persona_statements import SOURCE, Persona, interview_persona, read_personas

_QUESTIONS = 20
_BLIND_STEP = 4
"""The classifier learns from one training statement in this many."""


@dataclass(frozen=True, kw_only=True)
class Sitting:
    """One document of a persona, and statements that it would or would not make.

    Attributes:
        document: other statements that it makes.
        asked: question and whether the answer is yes.
        persona: number of the persona.
        reversed: whether this is somebody who disagrees with all that the persona says.
    """

    document: str
    asked: tuple[tuple[str, bool], ...]
    persona: int
    reversed: bool


def personality(bench: Bench, count: int) -> Record:
    """``count`` documents of held-out personas and as many of their opposites, twenty statements each.

    ``accuracy`` counts the personas as they are: part of it can be had from the wording of a statement alone, and
    ``floor/persona-blind`` says how much. ``accuracy/reversed`` counts the opposites, where the wording misleads.
    """
    record = Record()
    personas = read_personas(bench.data, held_out=True)
    sittings = make_sittings(personas, count)
    adapters = bench.write([sitting.document for sitting in sittings])
    controls: dict[Arm, Sequence[Adapter | None]] = {
        "adapter": adapters,
        "other": [adapters[_other(sittings, index)] for index in range(len(sittings))],
        "mean": [_mean(bench)] * len(sittings),
    }
    blind = _blind(bench, sittings, record)
    answers = _answers(bench, sittings, controls)
    for index, sitting in enumerate(sittings):
        name = "accuracy/reversed" if sitting.reversed else "accuracy"
        for number, (_, truth) in enumerate(sitting.asked):
            right = {arm: answers[arm][index][number] == truth for arm in ARMS}
            for arm in ARMS:
                record.hit(name, arm, right[arm], cluster=sitting.persona)
            if sitting.reversed:
                record.amount(
                    "gap/other/reversed", "adapter", right["adapter"] - right["other"], cluster=sitting.persona
                )
                continue
            record.amount("gap/other", "adapter", right["adapter"] - right["other"], cluster=sitting.persona)
            if blind is not None:
                guessed = blind[index][number] == truth
                record.hit("floor/persona-blind", "none", guessed, cluster=sitting.persona)
                record.amount("gap/floor", "adapter", right["adapter"] - guessed, cluster=sitting.persona)
    known = {text for p in read_personas(bench.data, held_out=False) for text in (*p.agrees, *p.disagrees)}
    statements = [text for p in personas for text in (*p.agrees, *p.disagrees)]
    record.note(
        f"Statements of {len(personas)} held-out personas: {SOURCE}. {sum(text in known for text in statements)} of "
        f"{len(statements)} also stand under a persona of training."
    )
    return record


def make_sittings(personas: Sequence[Persona], count: int) -> list[Sitting]:
    """``count`` sittings of ``personas`` in turn, then as many of their opposites."""
    random = Random(f"personality {SEED}")
    sittings = []
    for opposite in (False, True):
        for index in range(count):
            number = index % len(personas)
            persona = personas[number].reversed() if opposite else personas[number]
            document, pairs = interview_persona(persona, random, questions=_QUESTIONS)
            asked = tuple((question.content, answer.content == "Yes") for question, answer in pairs)
            sittings.append(Sitting(document=document, asked=asked, persona=number, reversed=opposite))
    return sittings


def _other(sittings: Sequence[Sitting], index: int) -> int:
    """The sitting of another persona on the same side, from halfway round the circle of all: personas stand in the
    order of their names, and neighbours there are much the same (*interest in maths*, *interest in science*).
    """
    mine = sittings[index]
    sides = [at for at, sitting in enumerate(sittings) if sitting.reversed == mine.reversed]
    half = sides.index(index) + len(sides) // 2
    following = [sides[(half + step) % len(sides)] for step in range(len(sides))]
    others = (at for at in following if sittings[at].persona != mine.persona)
    return next(others, index)


def _mean(bench: Bench) -> Adapter:
    random = Random(f"mean persona {SEED}")
    personas = read_personas(bench.data, held_out=False)[: bench.mean_people]
    documents = [interview_persona(persona, random, questions=1)[0] for persona in personas]
    return mean_adapter(bench.write(documents, what="mean personas"))


def _answers(
    bench: Bench, sittings: Sequence[Sitting], controls: dict[Arm, Sequence[Adapter | None]]
) -> dict[Arm, list[list[bool]]]:
    """For every arm, sitting and statement, whether *Yes* is likelier than *No*."""
    yes, no = (bench.reply_tokens(word)[0] for word in ("Yes", "No"))
    answers: dict[Arm, list[list[bool]]] = {}
    with bench.respondent() as respondent:
        for arm in ARMS:
            blocks = []
            for index, sitting in enumerate(sittings):
                system = [{"role": "system", "content": sitting.document}] if arm == "prompt" else []
                prompts = [
                    bench.base.render_chat([*system, {"role": "user", "content": text}]) for text, _ in sitting.asked
                ]
                blocks.append(Block.of(prompts, controls[arm][index] if arm in controls else None))
            answers[arm] = [[] for _ in sittings]
            for done, (index, rows) in enumerate(respondent.next_logits(blocks), start=1):
                answers[arm][index] = [bool(row[yes] > row[no]) for row in rows]
                bench.progress(f"answers {arm}", done, len(blocks))
    return answers


def _blind(bench: Bench, sittings: Sequence[Sitting], record: Record) -> list[list[bool]] | None:
    """What a classifier answers that sees the statement's wording and never the persona: words and pairs of words of
    training personas' statements, logistic regression.
    """
    try:
        from sklearn.feature_extraction.text import CountVectorizer  # type: ignore[import-untyped]
        from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]
        from sklearn.pipeline import make_pipeline  # type: ignore[import-untyped]
    except ImportError:
        record.note("No persona-blind floor: scikit-learn is not installed. It comes with sentence-transformers.")
        return None
    texts: list[str] = []
    labels: list[bool] = []
    for persona in read_personas(bench.data, held_out=False):
        for statements, label in ((persona.agrees, True), (persona.disagrees, False)):
            texts += statements[::_BLIND_STEP]
            labels += [label] * len(statements[::_BLIND_STEP])
    classifier = make_pipeline(
        CountVectorizer(ngram_range=(1, 2), binary=True, min_df=2), LogisticRegression(C=0.1, max_iter=500)
    )
    classifier.fit(texts, labels)
    # The statement alone: what stands around it in a question is the same everywhere.
    asked = [_statement(text) for sitting in sittings for text, _ in sitting.asked]
    guesses = iter(classifier.predict(asked))
    return [[bool(next(guesses)) for _ in sitting.asked] for sitting in sittings]


def _statement(question: str) -> str:
    return question.partition('"')[2].rpartition('"')[0]
