"""Several documents for one user, added and removed one at a time, without reading the others again."""

from dataclasses import dataclass, replace
from random import Random

from hypernet.documents import Document
from hypernet.generators import State
from training.evaluation.bench import RANKS_OF_ANY_STATE, Bench
from training.evaluation.cases import Case, Probe
from training.evaluation.record import Record
from training.evaluation.suites.profiles import SEED
from training.world.documents import FORMS, write_profile
from training.world.people import Person, make_person
from training.world.questions import DECLINE, Question, ask_fact

_FACTS = 9
_PARTS = (2, 3, 4)


@dataclass(frozen=True, kw_only=True)
class User:
    """One person, told of in several documents.

    Attributes:
        documents: each states the name and facts of its own.
        questions: for every document, one on each of its facts.
        removed: index of the document that is taken away in the end.
    """

    documents: tuple[str, ...]
    questions: tuple[tuple[Question, ...], ...]
    removed: int


def long(bench: Bench, count: int) -> Record:
    """``count`` users of 2 to 4 documents each."""
    record = Record()
    users = make_users(count)
    states = [[bench.generator.read([text])[0] for text in user.documents] for user in users]
    together = [_sum(of_user) for of_user in states]
    reduced = [
        whole.without(Document.from_text(user.documents[user.removed]).digest)
        for whole, user in zip(together, users, strict=True)
    ]
    never = [
        _sum(of_user[: user.removed] + of_user[user.removed + 1 :]) for of_user, user in zip(states, users, strict=True)
    ]
    record_identity_and_sizes(bench, record, together=together, reduced=reduced, never=never)

    write = bench.generator.write
    alone = [(index, part) for index, user in enumerate(users) for part in range(len(user.documents))]
    bench.ask(
        record,
        [_case(users[index].documents[part], users[index], (part,), "exact/alone", index) for index, part in alone],
        [write(states[index][part]) for index, part in alone],
        label="alone",
    )
    bench.ask(
        record,
        [_case(_joined(user), user, range(len(user.documents)), "exact/together", i) for i, user in enumerate(users)],
        [write(state) for state in together],
        label="together",
    )
    whole = [write(state, max_rank=RANKS_OF_ANY_STATE) for state in together]
    # Where all ranks have room nothing is compressed, and nothing lost.
    larger = [index for index, adapter in enumerate(whole) if adapter.rank > bench.generator.signature.rank]
    for name, adapters in (
        ("compressed", [write(together[index]) for index in larger]),
        ("uncompressed", [whole[index] for index in larger]),
    ):
        cases = [_case(_joined(users[i]), users[i], range(len(users[i].documents)), f"exact/{name}", i) for i in larger]
        bench.ask(record, cases, adapters, arms=("adapter",), label=name)
    record.compare("gap/together", "exact/together", "exact/alone")
    record.compare("gap/compressed", "exact/compressed", "exact/uncompressed")
    bench.ask(
        record,
        [_case_after_removal(user, index) for index, user in enumerate(users)],
        [write(state) for state in reduced],
        label="removed",
    )
    record.note(
        "`exact/alone` and `exact/together` ask the same questions. After one document is removed, `exact/kept` asks "
        "about the others and `exact/removed` about what only that one said, to be declined. "
        f"{len(larger)} of {len(users)} users have more ranks than the checkpoint's {bench.generator.signature.rank}: "
        "`exact/compressed` and `exact/uncompressed` are theirs."
    )
    return record


def make_users(count: int) -> list[User]:
    """People with nine facts, the name aside split over 2, 3 or 4 documents of different kinds."""
    random = Random(f"long {SEED}")
    users = []
    for index in range(count):
        person = make_person(random, fact_count=_FACTS, reserved=True)
        keys = [key for key in person.facts if key != "name"]
        random.shuffle(keys)
        parts = _PARTS[index % len(_PARTS)]
        people = [_with_facts(person, keys[part::parts]) for part in range(parts)]
        users.append(
            User(
                documents=tuple(
                    write_profile(part, random, form=FORMS[(index + at) % len(FORMS)]).text
                    for at, part in enumerate(people)
                ),
                questions=tuple(
                    tuple(ask_fact(part, key, random) for key in part.facts if key != "name") for part in people
                ),
                removed=random.randrange(parts),
            )
        )
    return users


def _with_facts(person: Person, keys: list[str]) -> Person:
    return replace(person, facts={key: person.facts[key] for key in ("name", *keys)})


def _sum(states: list[State]) -> State:
    """One document after another, as a service adds them."""
    total = states[0]
    for state in states[1:]:
        total = total + state
    return total


def _joined(user: User) -> str:
    return "\n\n".join(user.documents)


def _case(document: str, user: User, parts: "range | tuple[int, ...]", name: str, person: int) -> Case:
    probes = (_probe(question, name) for part in parts for question in user.questions[part])
    return Case(document=document, probes=tuple(probes), person=person)


def _case_after_removal(user: User, person: int) -> Case:
    kept = [part for part in range(len(user.documents)) if part != user.removed]
    probes = [_probe(question, "exact/kept") for part in kept for question in user.questions[part]]
    probes += [replace(_probe(q, "exact/removed"), answers=(DECLINE,)) for q in user.questions[user.removed]]
    return Case(document="\n\n".join(user.documents[part] for part in kept), probes=tuple(probes), person=person)


def _probe(question: Question, name: str) -> Probe:
    return Probe(text=question.text, answers=(question.answer,), measures=(name,), manner=question.manner)


def record_identity_and_sizes(
    bench: Bench, record: Record, *, together: list[State], reduced: list[State], never: list[State]
) -> None:
    """Whether an adapter without a document is bit for bit that of somebody who never gave it, and how large adapters
    are.
    """
    write = bench.generator.write
    for index, (whole, less, without) in enumerate(zip(together, reduced, never, strict=True)):
        same = write(less).canonical_bytes() == write(without).canonical_bytes()
        record.hit("identical/removed", "adapter", same, cluster=index)
        documents = len(whole.documents)
        for name, most in (("compressed", None), ("uncompressed", RANKS_OF_ANY_STATE)):
            size = write(whole, max_rank=most).size_bytes
            record.amount(f"size_bytes/{name}", "adapter", size, cluster=index)
            record.amount(f"size_bytes/{name}/{documents}", "adapter", size, cluster=index)
