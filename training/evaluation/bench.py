"""What every suite works with: the generator that is measured, data, controls, and the five arms."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from random import Random

from hypernet.adapters import Adapter
from hypernet.generators import Generator, State
from training.evaluation.cases import Case, stranger_to
from training.evaluation.mean_adapter import mean_adapter
from training.evaluation.measures import ARMS, Arm
from training.evaluation.record import Record
from training.evaluation.respondent import Block, Respondent
from training.public_data.folder import data_folder
from training.world.documents import write_profile
from training.world.people import make_person

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and of how much."""

MEAN_PEOPLE = 100

RANKS_OF_ANY_STATE = 1 << 16
"""A `max_rank` under which no adapter is compressed."""

REPLY_TOKENS = 24
"""Longest reply, in tokens, unless a right answer is longer."""

_READ_AT_ONCE = 16


class Bench:
    """One checkpoint on the bench.

    Args:
        generator: what is measured.
        data_dir: folder of public data sets; when not given, ``HYPERNET_DATA_DIR`` names it.
        mean_people: people whose adapters are averaged for the mean arm; none of them is ever asked about.

    Attributes:
        progress: called as the work goes on.
    """

    def __init__(
        self,
        generator: Generator,
        *,
        data_dir: Path | None = None,
        mean_people: int = MEAN_PEOPLE,
    ) -> None:
        self.generator = generator
        self.base = generator.base
        self.mean_people = mean_people
        self.progress: Progress = lambda what, done, total: None
        self._data_dir = data_dir

    @property
    def data(self) -> Path:
        """The folder of public data sets. Raises `FileNotFoundError`, saying what to set, if none is named."""
        return data_folder(self._data_dir)

    @property
    def data_or_none(self) -> Path | None:
        """The folder of public data sets, if one is named."""
        try:
            return self.data
        except FileNotFoundError:
            return None

    def read(self, documents: Sequence[str], *, what: str = "documents") -> list[State]:
        """What the generator makes of each of ``documents``."""
        states: list[State] = []
        for start in range(0, len(documents), _READ_AT_ONCE):
            states += self.generator.read(documents[start : start + _READ_AT_ONCE])
            self.progress(what, len(states), len(documents))
        return states

    def write(self, documents: Sequence[str], *, what: str = "adapters") -> list[Adapter]:
        """An adapter for each of ``documents``."""
        return [self.generator.write(state) for state in self.read(documents, what=what)]

    @cached_property
    def strangers(self) -> tuple[list[str], list[Adapter]]:
        """Documents and adapters of made-up people whom no suite asks about."""
        random = Random("strangers")
        people = (make_person(random, fact_count=4 + index % 9, reserved=False) for index in range(self.mean_people))
        documents = [write_profile(person, random).text for person in people]
        return documents, self.write(documents, what="strangers")

    @cached_property
    def mean(self) -> Adapter:
        """The mean adapter of the strangers."""
        return mean_adapter(self.strangers[1])

    def others(self, cases: Sequence[Case], adapters: Sequence[Adapter]) -> list[Adapter | None]:
        """For each case, the adapter of the next one about somebody else whose document holds none of its answers; of a
        stranger if every other holds one; none if every stranger does too.
        """
        documents = [case.document for case in cases]
        of_person: dict[int, set[int]] = defaultdict(set)
        for index, case in enumerate(cases):
            of_person[case.person].add(index)
        found: list[Adapter | None] = []
        for index, case in enumerate(cases):
            other = stranger_to(case, documents, after=index, passing_over=of_person[case.person])
            if other is not None:
                found.append(adapters[other])
                continue
            stranger = stranger_to(case, self.strangers[0])
            found.append(None if stranger is None else self.strangers[1][stranger])
        return found

    def respondent(self) -> Respondent:
        """The base model, ready to answer under adapters; to be closed before anything else is put into it."""
        return Respondent(self.base, self.generator.signature.target_modules)

    def ask(
        self,
        record: Record,
        cases: Sequence[Case],
        adapters: Sequence[Adapter],
        *,
        arms: Sequence[Arm] = ARMS,
        label: str = "",
    ) -> None:
        """Put every question under every arm and record whether the replies are right.

        - ``none``: the bare model.
        - ``prompt``: the bare model with the document in its prompt, the ceiling; a document that does not fit is cut.
        - ``adapter``: the document's own adapter.
        - ``other``: see `others`.
        - ``mean``: the mean adapter of the strangers.

        Args:
            record: takes the replies' scores.
            cases: documents and questions.
            adapters: one for each case.
            arms: those wanted.
            label: what this is about, for the progress.
        """
        controls: dict[Arm, Sequence[Adapter | None]] = {"adapter": adapters}
        if "other" in arms:
            controls["other"] = self.others(cases, adapters)
        if "mean" in arms:
            controls["mean"] = [self.mean] * len(cases)
        answers = {answer for case in cases for probe in case.probes for answer in probe.answers}
        longest = max((len(self.reply_tokens(answer)) for answer in answers), default=0)
        room = max(REPLY_TOKENS, longest + REPLY_TOKENS // 2)
        with self.respondent() as respondent:
            for arm in arms:
                chosen = controls.get(arm, [None] * len(cases))
                asked = [index for index in range(len(cases)) if cases[index].probes]
                if arm == "other" and any(chosen[index] is None for index in asked):
                    missing = sum(chosen[index] is None for index in asked)
                    record.note(
                        f"{missing} of {len(asked)} documents have no `other`: all others hold an answer of theirs."
                    )
                    asked = [index for index in asked if chosen[index] is not None]
                blocks = [self._block(cases[index], chosen[index], record, room=room, arm=arm) for index in asked]
                for done, (place, replies) in enumerate(respondent.replies(blocks, max_tokens=room), start=1):
                    case = cases[asked[place]]
                    for probe, reply in zip(case.probes, replies, strict=True):
                        for name, hit in probe.scores(reply):
                            record.hit(name, arm, hit, cluster=case.person if probe.cluster is None else probe.cluster)
                    self.progress(f"{label} {arm}".strip(), done, len(blocks))

    def _block(self, case: Case, adapter: Adapter | None, record: Record, *, room: int, arm: Arm) -> Block:
        questions = [{"role": "user", "content": probe.text} for probe in case.probes]
        if arm != "prompt":
            return Block.of([self.base.render_chat([question]) for question in questions], adapter)
        document = self.fitting(case.document, max((q["content"] for q in questions), key=len), record, room=room)
        system = {"role": "system", "content": document}
        return Block.of([self.base.render_chat([system, question]) for question in questions])

    def fitting(self, document: str, question: str, record: Record, *, room: int) -> str:
        """``document``, cut after as many words as the base model's context holds beside ``question`` and a reply of
        ``room`` tokens.
        """
        limit = (
            self.base.max_context_tokens - len(self.base.render_chat([{"role": "user", "content": question}])) - room
        )

        def fits(text: str) -> bool:
            return len(self.base.render_document(text)) <= limit

        if fits(document):
            return document
        record.note(
            f"In the arm `prompt`, documents too long for the context of {self.base.max_context_tokens} tokens are cut."
        )
        words = document.split(" ")
        low, high = 0, len(words)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(" ".join(words[:middle])) else (low, middle)
        return " ".join(words[:low]) or " ".join(words[:1])

    def tokens(self, text: str) -> int:
        """Length of a document in tokens, as the base model reads it."""
        return len(self.base.render_document(text))

    def reply_tokens(self, text: str) -> tuple[int, ...]:
        """Token ids of ``text`` as a reply, without what ends it."""
        encoded = self.base.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
        return tuple(encoded.ids)
