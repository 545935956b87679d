"""A checkpoint in miniature on the bench, and public data in miniature."""

import csv
import json

import pytest

import hypernet
from tests.miniature import NAME, write_checkpoint
from training.evaluation.bench import Bench

LONG_ENOUGH = 40_000


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    write_checkpoint(folder, max_document_tokens=LONG_ENOUGH)
    return folder


@pytest.fixture(scope="module")
def generator(root):
    loaded = hypernet.load(NAME, root=root)
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def bench(generator, data_dir):
    return Bench(generator, data_dir=data_dir, mean_people=6)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Public data in miniature: the same files with made-up content."""
    folder = tmp_path_factory.mktemp("data")
    chats = folder / "synthetic_persona_chat" / "valid.csv"
    chats.parent.mkdir()
    personas = [f"I keep {n} bees.\nI paint fence number {n}." for n in range(200)]
    with chats.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["user 1 personas", "user 2 personas", "Best Generated Conversation"])
        for n, persona in enumerate(personas):
            said = [
                f"User 1: Hello {n}",
                f"User 2: Hi {n}, I keep {n} bees.",
                "User 1: Nice.",
                f"User 2: Rain again {n}!",
            ]
            rows.writerow([personas[n - 1], persona, "\n".join(said)])
    statements = folder / "evals_persona"
    statements.mkdir()
    for n in range(30):
        lines = [
            {"statement": f"I would {verb} thing {n} {m}", "answer_matching_behavior": f" {answer}"}
            for answer, verb in (("Yes", "do"), ("No", "hate"))
            for m in range(40)
        ]
        (statements / f"persona-{n}.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    stories = folder / "fairytale_qa" / "section-stories" / "val"
    stories.mkdir(parents=True)
    for n in range(3):
        tale = f"Once a king {n} had a horse. It ran away! Nobody found the horse again."
        (stories / f"{n}.csv").write_text(f"section,text\n1,{tale}\n2,{tale} The end.\n", encoding="utf-8")
    return folder
