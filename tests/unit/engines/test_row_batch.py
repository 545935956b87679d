"""Row independence, bit for bit, and planted bugs that the same check must find."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from hypernet.engines.row_batch import RowBatch
from hypernet.models import BaseModel, SlotBank, slot_bank
from hypernet.models.miniature import miniature_base_model, random_adapter

SOUND_SLOTS = 6
NAN_SLOT, HUGE_SLOT = 7, 8
SHAPES = {
    "narrow": {},
    "shared key heads": {
        "hidden_size": 64,
        "intermediate_size": 160,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
    },
}


@dataclass
class Sequence:
    prompt: list[int]
    slot: int
    length: int
    logits: list[Tensor] = field(default_factory=list)


@pytest.fixture(params=SHAPES)
def base(request: pytest.FixtureRequest) -> BaseModel:
    return miniature_base_model(max_position_embeddings=500, **SHAPES[request.param])


@pytest.fixture
def bank(base: BaseModel) -> Iterator[SlotBank]:
    bank = SlotBank(base, slots=8, rank=4, target_modules=("down_proj",))
    for slot in range(1, SOUND_SLOTS + 1):
        bank.write(slot, random_adapter(base, seed=slot))
    for a, b in bank.pairs:
        a[NAN_SLOT].fill_(float("nan"))
        b[HUGE_SLOT].fill_(1e30)
        a[HUGE_SLOT].fill_(1e30)
    yield bank
    bank.uninstall()


def grow(batch: RowBatch, row: int, sequence: Sequence, logits: Tensor) -> None:
    sequence.logits.append(logits[row].clone())
    token = int(logits[row].argmax()) if logits[row].isfinite().all() else 9
    batch.extend(row, token)


def alone(base: BaseModel, bank: SlotBank, sequence: Sequence) -> list[Tensor]:
    batch = RowBatch(base, bank, rows=1)
    again = Sequence(sequence.prompt, sequence.slot, sequence.length)
    batch.begin([0], [again.prompt], [again.slot])
    for _ in range(again.length):
        grow(batch, 0, again, batch.step())
    batch.close()
    return again.logits


def differing(
    base: BaseModel,
    bank: SlotBank,
    *,
    seed: int,
    steps: int = 24,
    checked: int = 16,
    kind: type[RowBatch] = RowBatch,
) -> int:
    """Runs a random mixed batch and counts the sound sequences whose logits are not bit for bit their own alone."""
    draw = random.Random(seed)
    batch = kind(base, bank, rows=20)
    live: dict[int, Sequence] = {}
    done: list[Sequence] = []
    for _ in range(steps):
        free = [row for row in range(20) if row not in live]
        joining = {
            row: Sequence(
                prompt=[
                    draw.randrange(5, 260) for _ in range(draw.choice([1, 2, 17, 40, 250, 430, draw.randrange(1, 350)]))
                ],
                slot=draw.randrange(0, HUGE_SLOT + 1),
                length=draw.choice([1, 3, 8]),
            )
            for row in draw.sample(free, min(len(free), draw.choice([0, 1, 5])))
        }
        if joining:
            batch.begin(list(joining), [s.prompt for s in joining.values()], [s.slot for s in joining.values()])
            live |= joining
        if not live:
            continue
        logits = batch.step()
        for row, sequence in list(live.items()):
            grow(batch, row, sequence, logits)
            if len(sequence.logits) == sequence.length or draw.random() < 0.03:
                batch.clear(row)
                done.append(live.pop(row))
        for source, target in batch.compact().items():
            live[target] = live.pop(source)
    batch.close()
    sound = [sequence for sequence in done if sequence.slot <= SOUND_SLOTS]
    assert len(sound) > steps // 3
    assert any(sequence.slot >= NAN_SLOT for sequence in done)
    wrong = 0
    for sequence in draw.sample(sound, min(len(sound), checked)):
        reference = alone(base, bank, sequence)
        wrong += any(not torch.equal(a, b) for a, b in zip(sequence.logits, reference))
    return wrong


def test_row_batch_rows_are_bit_for_bit_what_they_are_alone(base: BaseModel, bank: SlotBank) -> None:
    assert differing(base, bank, seed=1) == 0


def test_row_batch_rows_are_independent_of_the_thread_that_computes_them(base: BaseModel, bank: SlotBank) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        # Few, because two threads that share a busy machine wait for each other at every operation.
        assert differing(base, bank, seed=4, steps=8, checked=3) == 0
    finally:
        torch.set_num_threads(before)


def test_row_batch_with_masking_by_multiplication_is_found_out(
    base: BaseModel, bank: SlotBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Planted bug: every row computes everybody's update and multiplies by a one-hot choice.
    def leaky(out: Tensor, x: Tensor, a: Tensor, b: Tensor, *, scaling: float) -> Tensor:
        updates = torch.einsum("nti,mri,mor->nmto", x, a, b)
        return out + scaling * torch.einsum("nm,nmto->nto", torch.eye(len(a)), updates)

    monkeypatch.setattr(slot_bank, "add_lora", leaky)
    assert differing(base, bank, seed=1, steps=12) > 0


def test_row_batch_that_leaves_a_lane_dirty_is_found_out(base: BaseModel, bank: SlotBank) -> None:
    # Planted bug: what a not-a-number sequence left behind is hidden by the mask only, and zero times it is not zero.
    class Dirty(RowBatch):
        def clear(self, row: int) -> None:
            self._written[row] = 0
            super().clear(row)

    assert differing(base, bank, seed=2, kind=Dirty) > 0


def test_row_batch_that_gives_a_row_its_predecessors_adapter_is_found_out(base: BaseModel, bank: SlotBank) -> None:
    class Stale(RowBatch):
        def _move(self, source: int, target: int) -> None:
            super()._move(source, target)
            self._adapters.assign(target, 0)

    assert differing(base, bank, seed=3, kind=Stale) > 0


def test_row_batch_equals_the_whole_sequence_read_at_once(base: BaseModel, bank: SlotBank) -> None:
    sequence = Sequence(prompt=list(range(5, 60)), slot=2, length=8)
    stepwise = torch.stack(alone(base, bank, sequence))
    ids = torch.tensor([sequence.prompt + [int(row.argmax()) for row in stepwise[:-1]]])
    with torch.no_grad(), bank.applied(bank.gather([2]).first(1)):
        whole = base.module(ids).logits[0, len(sequence.prompt) - 1 :]
    torch.testing.assert_close(stepwise, whole, rtol=1e-4, atol=1e-4)


def test_row_batch_steps_no_more_rows_than_its_sequences_need(base: BaseModel, bank: SlotBank) -> None:
    batch = RowBatch(base, bank, rows=24)
    batch.begin(list(range(24)), [[5, 6, 7]] * 24, [1] * 24)
    assert batch.step().shape[0] == 24
    for row in range(18):
        batch.clear(row)
    assert batch.compact() == {23: 0, 22: 1, 21: 2, 20: 3, 19: 4, 18: 5}
    assert batch.step().shape[0] == 8
    batch.close()


def test_row_batch_gives_the_base_model_its_attention_back(base: BaseModel, bank: SlotBank) -> None:
    before = base.module.config._attn_implementation
    batch = RowBatch(base, bank, rows=1)
    assert base.module.config._attn_implementation != before
    batch.close()
    batch.close()
    assert base.module.config._attn_implementation == before
