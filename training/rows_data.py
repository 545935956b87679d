"""Batches for training a hypernetwork on a researcher's own rows; see `training.rows` for their columns."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Literal

import lightning
from torch.utils.data import DataLoader, IterableDataset

from hypernet.documents.chunking import split_into_chunks
from training.batch_numbers import BatchNumbers
from training.chat_format import Turn
from training.document_chunks import split_at_random
from training.pretraining_data import question_turns
from training.profiles_data import Case, CaseBatch, make_batch
from training.rows import ConversationRow, RowsInvalid, open_rows
from training.template_encoder import Encoder, encoder_for
from training.world.questions import ask_general

Side = Literal["train", "validation", "test"]
Place = tuple[int, int]


class RowStore:
    """Files of rows, each read once as a stream and checked; then read by document, one row at a time.

    Only places are in memory, some 100 bytes a row. ``check`` raises `RowsInvalid` for a document's text that cannot be
    used.

    Attributes:
        documents: for each side of the split, the places of every document's rows by the document's id.
        digest: SHA-256 over the contents of the files, in order.
    """

    def __init__(
        self, paths: Sequence[Path], *, validation_share: float, test_share: float, check: Callable[[str], None]
    ) -> None:
        self._files = [open_rows(path) for path in paths]
        self.documents: dict[Side, dict[str, list[Place]]] = {"train": {}, "validation": {}, "test": {}}
        known: dict[str, tuple[bytes, str]] = {}
        for number, file in enumerate(self._files):
            for place, row in file.places():
                text = hashlib.sha256(row.document.encode()).digest()
                if row.document_id not in known:
                    try:
                        check(row.document)
                    except RowsInvalid as error:
                        raise RowsInvalid(f"{file.path}, document {row.document_id[:80]!r}: {error}") from None
                if known.setdefault(row.document_id, (text, row.person)) != (text, row.person):
                    raise RowsInvalid(
                        f"{file.path}: two different documents, or documents of two people, have the id "
                        f"{row.document_id[:80]!r}; give each its own."
                    )
                chosen = side(row.person, validation_share=validation_share, test_share=test_share)
                self.documents[chosen].setdefault(row.document_id, []).append((number, place))
        whole = hashlib.sha256()
        for path in paths:
            with path.open("rb") as stream:
                whole.update(hashlib.file_digest(stream, "sha256").digest())
        self.digest = whole.hexdigest()

    def read(self, place: Place) -> ConversationRow:
        """The row at a place."""
        number, at = place
        return self._files[number].read(at)


def side(person: str, *, validation_share: float, test_share: float) -> Side:
    """On which side of the split somebody's documents are, by the hash of the name alone: more rows move nobody."""
    draw = int.from_bytes(hashlib.sha256(person.encode("utf-8", "surrogatepass")).digest()[:6]) / 2**48
    if draw < test_share:
        return "test"
    return "validation" if draw < test_share + validation_share else "train"


class RowBatches(IterableDataset[CaseBatch]):
    """Endless batches of documents with some of their conversations; each depends on the files, the seed and its number
    alone. Every document comes once before any comes again.
    """

    def __init__(
        self,
        *,
        store: RowStore,
        encoder: Encoder,
        cut: Callable[[str, Random], list[str]],
        documents: int,
        conversations: int,
        retention_rows: int,
        negatives: float,
        seed: int,
        numbers: BatchNumbers,
        teacher_tokens: int = 0,
    ) -> None:
        self._store = store
        self._encoder = encoder
        self._cut = cut
        self._documents = documents
        self._conversations = conversations
        self._retention_rows = retention_rows
        self._negatives = negatives
        self._seed = seed
        self._numbers = numbers
        self._teacher_tokens = teacher_tokens
        self._ids = list(store.documents["train"])
        self._order: tuple[int, list[str]] = (-1, [])

    def __iter__(self) -> Iterator[CaseBatch]:
        for number in self._numbers:
            yield self.batch(number)

    def batch(self, number: int) -> CaseBatch:
        """The batch of that ``number``."""
        random = Random(f"rows {self._seed} {number}")
        start = number * self._documents
        cases = [self._case(self._id(start + index), random) for index in range(self._documents)]
        # One at least has something to learn, or the loss would be of nothing.
        negative = [index > 0 and random.random() < self._negatives for index in range(len(cases))]
        return make_batch(
            self._encoder,
            [self._blank(random) if blank else case for case, blank in zip(cases, negative, strict=True)],
            teacher_tokens=self._teacher_tokens,
        )

    def _id(self, position: int) -> str:
        epoch, index = divmod(position, len(self._ids))
        if self._order[0] != epoch:
            order = list(self._ids)
            Random(f"rows {self._seed} epoch {epoch}").shuffle(order)
            self._order = epoch, order
        return self._order[1][index]

    def _case(self, document_id: str, random: Random) -> Case:
        places = self._store.documents["train"][document_id]
        rows = [self._store.read(place) for place in random.sample(places, min(len(places), self._conversations))]
        return Case(
            chunks=self._cut(rows[0].document, random),
            talks=[list(row.turns) for row in rows],
            unrelated=[_general(random) for _ in range(self._retention_rows)],
            preferences=preferences(rows),
        )

    def _blank(self, random: Random) -> Case:
        """A document of no consequence, under which the bare model's answers stay."""
        return Case(
            chunks=[random.choice(("", ".", "-", "...", "\n"))],
            talks=[],
            unrelated=[_general(random) for _ in range(self._retention_rows + 1)],
        )


def preferences(rows: Sequence[ConversationRow]) -> list[tuple[list[Turn], list[Turn]]]:
    """The conversations with a reply out of character, and the same with it in place of the last reply."""
    return [
        (list(row.turns), [*row.turns[:-1], Turn(role="assistant", content=row.rejected)])
        for row in rows
        if row.rejected is not None
    ]


class RowsData(lightning.LightningDataModule):
    """A researcher's own rows of documents and conversations, from JSONL or Parquet.

    Files are checked as a whole before anything is trained, and read row by row while it is. Documents are split by
    the hash of their ids: those of validation and test are in no training batch.

    Args:
        base: folder of the base model, whose tokenizer is used.
        files: files of rows, ``.jsonl`` or ``.parquet``; see docs/train-your-own.md for the columns.
        documents: number of documents in a batch.
        conversations: the largest number of conversations of a document in a batch.
        retention_rows: number of general questions for each document, under which the bare model's answers are kept.
        negatives: share of the documents, 0 to 1, that are next to no text at all.
        chunk_tokens: longest chunk that a document is read in, in tokens; that of the model's configuration.
        many_chunks: share of the documents, 0 to 1, that are cut into a random number of chunks though they fit in one.
        most_chunks: the largest number of chunks of a document; a file with a longer one is refused.
        validation_share: share of the documents, 0 to 1, that only validation sees.
        test_share: share of the documents, 0 to 1, that only ``test`` sees.
        sources: names and licences of the data, for the manifest.
        seed: number that the batches' randomness starts from.
    """

    def __init__(
        self,
        base: Path,
        files: list[Path],
        documents: int = 16,
        conversations: int = 6,
        retention_rows: int = 2,
        negatives: float = 0.05,
        chunk_tokens: int = 256,
        many_chunks: float = 0.3,
        most_chunks: int = 8,
        validation_share: float = 0.1,
        test_share: float = 0.1,
        sources: list[str] = [],  # noqa: B006  (never changed)
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.base = base
        self.files = files
        self.documents = documents
        self.conversations = conversations
        self.retention_rows = retention_rows
        self.negatives = negatives
        self.chunk_tokens = chunk_tokens
        self.many_chunks = many_chunks
        self.most_chunks = most_chunks
        self.validation_share = validation_share
        self.test_share = test_share
        self.sources = list(sources)
        self.seed = seed
        self.teacher_tokens = 0
        self.store: RowStore | None = None

    def setup(self, stage: str) -> None:
        """Load the tokenizer; read and check the files. Raises `RowsInvalid`."""
        from transformers import AutoTokenizer

        if self.store is not None:
            return
        self.encoder = encoder_for(AutoTokenizer.from_pretrained(self.base))
        self.store = RowStore(
            self.files, validation_share=self.validation_share, test_share=self.test_share, check=self._check
        )
        if not self.store.documents["train"]:
            raise RowsInvalid("Expected at least one document on the training side of the split, found none.")

    @property
    def digest(self) -> str:
        """SHA-256 over the contents of the files."""
        return self._store().digest

    @property
    def trained_chunks(self) -> int:
        """The most chunks that a document of training has."""
        return self.most_chunks

    @property
    def described(self) -> dict[str, int]:
        """Sizes of the training data, for the manifest."""
        train = self._store().documents["train"]
        return {
            "documents": len(train),
            "rows": sum(len(places) for places in train.values()),
            "documents_per_step": self.documents,
            "conversations_per_document": self.conversations,
        }

    def train_dataloader(self) -> DataLoader[CaseBatch]:
        """Batches from the step that the trainer stands at."""
        batches = RowBatches(
            store=self._store(),
            encoder=self.encoder,
            cut=self._cut,
            documents=self.documents,
            conversations=self.conversations,
            retention_rows=self.retention_rows,
            negatives=self.negatives,
            seed=self.seed,
            numbers=BatchNumbers.of(self.trainer),
            teacher_tokens=self.teacher_tokens,
        )
        return DataLoader(batches, batch_size=None)

    def val_dataloader(self) -> DataLoader[CaseBatch]:
        """Every document of the validation side, with its first conversations."""
        return self._held_out("validation")

    def test_dataloader(self) -> DataLoader[CaseBatch]:
        """Every document of the test side, with its first conversations."""
        return self._held_out("test")

    def _store(self) -> RowStore:
        if self.store is None:
            self.setup("fit")
        if self.store is None:
            raise AssertionError("setup reads the files")
        return self.store

    def _held_out(self, of: Side) -> DataLoader[CaseBatch]:
        ids = list(self._store().documents[of])
        if not ids:
            raise RowsInvalid(
                f"No document is on the {of} side of the split. Bring more documents, or raise `{of}_share`."
            )
        starts = range(0, len(ids), self.documents)
        batches = [self._held_out_batch(of, ids[start : start + self.documents]) for start in starts]
        return DataLoader(batches, batch_size=None)

    def _held_out_batch(self, of: Side, ids: Sequence[str]) -> CaseBatch:
        store = self._store()
        cases = []
        for document_id in ids:
            random = Random(f"held out {document_id}")
            rows = [store.read(place) for place in store.documents[of][document_id][: self.conversations]]
            cases.append(
                Case(
                    chunks=self._cut(rows[0].document, None),
                    talks=[list(row.turns) for row in rows],
                    unrelated=[_general(random, reserved=True)],
                    kinds=[row.kind for row in rows],
                )
            )
        return make_batch(self.encoder, cases)

    def _check(self, text: str) -> None:
        chunks = len(self._cut(text, None)) if text.strip() else 1
        if chunks > self.most_chunks:
            raise RowsInvalid(
                f"it takes {chunks} chunks of {self.chunk_tokens} tokens, the most is {self.most_chunks}. Raise "
                "`most_chunks` or `chunk_tokens`, or shorten the document."
            )

    def _cut(self, text: str, random: Random | None) -> list[str]:
        """``text`` in chunks: as few as fit or, if ``random`` says so, more."""
        chunks = split_into_chunks(text, count_tokens=self._count, chunk_tokens=self.chunk_tokens)
        if random is not None and len(chunks) == 1 and random.random() < self.many_chunks:
            return split_at_random(text, random.randint(1, self.most_chunks), random)
        return chunks

    def _count(self, text: str) -> int:
        (row,) = self.encoder.rows([[Turn(role="system", content=text)]])
        return len(row.ids)


def _general(random: Random, *, reserved: bool = False) -> list[Turn]:
    return question_turns([ask_general(random, reserved=reserved)])
