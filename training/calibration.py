"""Which strength a hypernetwork's adapters are written with: recall against retention, on people of a hold-out."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import NamedTuple

import torch

from hypernet.durable_files import replace_file
from hypernet.generators import Generator
from hypernet.hypernetworks.checkpoint import MANIFEST_FILE, read_manifest
from hypernet.models import AdaptedModel
from training.evaluation.intervals import share_of
from training.hypernetwork_training import exact_conversations
from training.objectives import retention_loss
from training.packing import packed_logits
from training.pretraining_data import question_turns
from training.profiles_data import Case, CaseBatch, make_batch
from training.template_encoder import Encoder, encoder_for
from training.world.documents import write_document
from training.world.people import make_person
from training.world.questions import ask_for_calibration, interview

STRENGTHS = (0.0, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.35, 1.5, 1.75, 2.0)
"""What is tried; 0 is the bare model."""

_DOCUMENTS = 32

RETAINED = 0.99
"""General questions that an adapter may not be shown to fall below, as a share of those that the bare model gets right.
"""


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What one strength does.

    Attributes:
        strength: the number on B.
        recall: share of exact answers about people, 0 to 1.
        general: share of exact answers to general questions.
        general_high: upper end of that share's 95 % interval, where answers to the same question count together.
        divergence: KL(bare || adapted) on general questions, in nats a token.
    """

    strength: float
    recall: float
    general: float
    general_high: float
    divergence: float


class _Asked(NamedTuple):
    """A batch of people, and the general questions that stand behind those about them, a list for each person."""

    batch: CaseBatch
    general: list[list[str]]


def best(tried: Sequence[Tried]) -> Tried:
    """The least divergence among strengths whose recall is within half a point of the best of those that keep general
    knowledge; where none keeps it, the one that keeps most.

    A strength keeps general knowledge unless its 95 % interval lies below `RETAINED` of what the bare model knows: the
    few questions there are do not tell a slip on one of them from a loss.

    Args:
        tried: one of them with strength 0.
    """
    bare = next(one for one in tried if one.strength == 0.0)
    live = [one for one in tried if one.strength > 0.0]
    keeping = [one for one in live if one.general_high >= RETAINED * bare.general]
    if not keeping:
        return max(live, key=lambda one: one.general)
    most = max(one.recall for one in keeping)
    return min((one for one in keeping if one.recall >= most - 0.005), key=lambda one: one.divergence)


@torch.no_grad()
def try_strengths(generator: Generator, *, people: int = 96, facts: int = 10, seed: int = 0) -> list[Tried]:
    """Recall and retention at every strength.

    The people and their values are of training's side of the split (but new: training draws people without end), the
    general questions of a side of their own, so nothing of the evaluation is used up by choosing.

    Args:
        generator: whose base model is asked.
        people: how many people, in whole batches of 32.
        facts: facts of each.
        seed: of the people.
    """
    encoder = encoder_for(generator.base.tokenizer)
    people_asked = _people(encoder, people=people, facts=facts, seed=seed)
    model = AdaptedModel(generator.base, generator.target_modules)
    try:
        bare = [packed_logits(model, asked.batch.rows, None, scaling=1.0) for asked in people_asked]
        return [_try(generator, model, people_asked, bare, strength) for strength in STRENGTHS]
    finally:
        model.uninstall()


def _people(encoder: Encoder, *, people: int, facts: int, seed: int) -> list[_Asked]:
    """New people of training's kind, each asked six things one by one, and two general questions."""
    random = Random(f"calibration {seed}")
    batches = []
    for _ in range(-(-people // _DOCUMENTS)):
        cases, general = [], []
        for _ in range(_DOCUMENTS):
            person = make_person(random, fact_count=facts, reserved=False)
            asked = interview(person, random, turns=6, general=False)
            about = [question for question in asked if question.kind != "general"]
            unrelated = [ask_for_calibration(random) for _ in range(2)]
            general.append([question.text for question in unrelated])
            cases.append(
                Case(
                    chunks=[write_document(person, random)],
                    talks=[question_turns([question]) for question in about],
                    unrelated=[question_turns([question]) for question in unrelated],
                    kinds=[question.kind for question in about],
                )
            )
        batches.append(_Asked(make_batch(encoder, cases), general))
    return batches


def _try(
    generator: Generator,
    model: AdaptedModel,
    people_asked: Sequence[_Asked],
    bare: Sequence[torch.Tensor],
    strength: float,
) -> Tried:
    recalled: list[bool] = []
    general: list[bool] = []
    questions: list[str] = []
    divergences: list[float] = []
    network = generator.hypernetwork
    for (batch, texts), bare_logits in zip(people_asked, bare, strict=True):
        questions += [text for of_person in texts for text in of_person]
        lora = network.join(network(network.features(generator.base, batch.chunks)), batch.counts)
        logits = packed_logits(model, batch.rows, lora, scaling=network.config.scaling * strength)
        for exact, kept, kinds in zip(
            exact_conversations(logits, batch.rows, batch.rows.labels),
            exact_conversations(logits, batch.rows, batch.held),
            batch.kinds,
            strict=True,
        ):
            recalled += exact[: len(kinds)]
            general += kept[len(kinds) :]
        divergences.append(float(retention_loss(logits, bare_logits, batch.held)))
    numbers = {text: number for number, text in enumerate(dict.fromkeys(questions))}
    kept = share_of(general, [numbers[text] for text in questions])
    return Tried(
        strength=strength,
        recall=sum(recalled) / len(recalled),
        general=kept.value,
        general_high=kept.high,
        divergence=sum(divergences) / len(divergences),
    )


def set_strength(folder: Path, tried: Sequence[Tried]) -> Tried:
    """Write the best strength, and what was tried, into the manifest of the released hypernetwork in ``folder``.

    The strength decides which adapter a document gives, so the hypernetwork's digest changes with it.

    Raises:
        CheckpointNotFound: there is no such folder.
        CheckpointInvalid: its manifest cannot be read.
    """
    chosen = best(tried)
    values = read_manifest(folder).to_dict()
    values["strength"] = chosen.strength
    values["training"]["calibration"] = [asdict(one) for one in tried]
    replace_file(folder / MANIFEST_FILE, (json.dumps(values, indent=2) + "\n").encode())
    return chosen
