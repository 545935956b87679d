import dataclasses
import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from hypernet.adapters import Adapter, LoraPair
from hypernet.errors import AdapterInvalid, AdapterMismatch
from hypernet.models import AdaptedModel, BaseModel, SlotBank
from hypernet.models.miniature import miniature_base_model, random_adapter

TARGETS = ("down_proj", "q_proj")


@pytest.fixture
def base() -> BaseModel:
    return miniature_base_model()


@pytest.fixture
def bank(base: BaseModel) -> Iterator[SlotBank]:
    bank = SlotBank(base, slots=5, rank=4, target_modules=TARGETS)
    yield bank
    bank.uninstall()


def adapter(base: BaseModel, seed: int, **options: float) -> Adapter:
    return random_adapter(base, seed=seed, target_modules=TARGETS, **options)  # type: ignore[arg-type]


def ids(rows: int, tokens: int = 16) -> Tensor:
    return torch.randint(5, 260, (rows, tokens), generator=torch.Generator().manual_seed(2))


def run(base: BaseModel, bank: SlotBank, x: Tensor, slots: list[int]) -> Tensor:
    with torch.no_grad(), bank.applied(bank.gather(slots).first(len(slots))):
        return base.module(x).logits


def test_a_bank_of_base_rows_is_the_base_model_exactly(base: BaseModel, bank: SlotBank) -> None:
    bank.write(1, adapter(base, 1))
    x = ids(8)
    served = run(base, bank, x, [0] * 8)
    bank.uninstall()
    assert torch.equal(served, base.module(x).logits)


def test_base_rows_in_a_mixed_batch_equal_the_base_model_exactly(base: BaseModel, bank: SlotBank) -> None:
    for slot in range(1, 5):
        bank.write(slot, adapter(base, slot))
    x = ids(8)
    mixed = run(base, bank, x, [1, 0, 2, 0, 3, 0, 4, 0])
    bank.uninstall()
    plain = base.module(x).logits
    assert torch.equal(mixed[1::2], plain[1::2])
    assert (mixed[::2] - plain[::2]).abs().amax((1, 2)).min() > 0.1


def test_each_row_equals_the_functional_route(base: BaseModel, bank: SlotBank) -> None:
    adapters = [adapter(base, seed, scaling=1.5) for seed in range(3)]
    for slot, each in enumerate(adapters, 1):
        bank.write(slot, each)
    x = ids(3)
    served = run(base, bank, x, [1, 2, 3])
    bank.uninstall()
    model = AdaptedModel(base, TARGETS)
    for row, each in enumerate(adapters):
        lora = {name: (pair.a[None], pair.b[None]) for name, pair in each.modules.items()}
        alone = model(x[row : row + 1], torch.ones(1, 16, dtype=torch.bool), lora, each.scaling)
        torch.testing.assert_close(served[row : row + 1], alone, rtol=1e-4, atol=1e-4)


def test_a_row_does_not_see_its_neighbours_adapters_not_even_nan(base: BaseModel, bank: SlotBank) -> None:
    bank.write(1, adapter(base, 1))
    x = ids(8)
    calm = run(base, bank, x, [1] + [0] * 7)
    bank.write(2, adapter(base, 2, strength=1e9))
    for a, b in bank.pairs:
        a[3].fill_(float("nan"))
        b[3].fill_(float("inf"))
    wild = run(base, bank, x, [1, 2, 3, 3, 0, 2, 3, 0])
    assert torch.equal(wild[[0, 4, 7]], calm[[0, 4, 7]])
    assert wild[2].isnan().all()


def test_masking_by_multiplication_would_be_seen(base: BaseModel, bank: SlotBank) -> None:
    # The planted bug: every slot's update for every row, times a one-hot choice. Zero times not-a-number is not zero.
    bank.write(1, adapter(base, 1))
    x = torch.randn(8, 1, 32)
    a, b = bank.pairs[1]
    choice = torch.nn.functional.one_hot(torch.tensor([1] + [0] * 7), a.shape[0]).float()

    def leaky() -> Tensor:
        updates = torch.einsum("nti,sri,sor->snto", x, a, b)
        return torch.einsum("ns,snto->nto", choice, updates)

    calm = leaky()
    a[3].fill_(float("nan"))
    assert not torch.equal(leaky(), calm)


def test_rows_keep_what_they_were_given_when_the_slot_is_rewritten(base: BaseModel, bank: SlotBank) -> None:
    bank.write(1, adapter(base, 1))
    x = ids(8)
    rows = bank.gather([1] * 8)
    with torch.no_grad(), bank.applied(rows.first(8)):
        before = base.module(x).logits
    bank.write(1, adapter(base, 2))
    with torch.no_grad(), bank.applied(rows.first(8)):
        assert torch.equal(base.module(x).logits, before)


def test_a_moved_row_computes_the_same_in_its_new_place(base: BaseModel, bank: SlotBank) -> None:
    bank.write(1, adapter(base, 1))
    x = ids(8)
    rows = bank.gather([0] * 7 + [1])
    with torch.no_grad(), bank.applied(rows.first(8)):
        before = base.module(x).logits
    rows.move(7, 0)
    with torch.no_grad(), bank.applied(rows.first(8)):
        after = base.module(x.flip(0)).logits
    assert torch.equal(after[0], before[7])
    assert torch.equal(after[7], run(base, bank, x.flip(0), [0] * 8)[7])


def test_a_smaller_rank_leaves_nothing_of_the_adapter_that_was_there(base: BaseModel, bank: SlotBank) -> None:
    x = ids(8)
    small = random_adapter(base, seed=3, rank=2, target_modules=("down_proj",))
    bank.write(1, small)
    fresh = run(base, bank, x, [1] * 8)
    bank.write(2, adapter(base, 1))
    bank.write(2, small)
    assert torch.equal(run(base, bank, x, [2] * 8), fresh)
    bank.clear(2)
    assert torch.equal(run(base, bank, x, [2] * 8), run(base, bank, x, [0] * 8))
    assert all(pair[2].abs().max() == 0 for pairs in bank.pairs for pair in pairs)


def test_other_threads_run_the_base_model_meanwhile(base: BaseModel, bank: SlotBank) -> None:
    bank.write(1, adapter(base, 1))
    x = ids(8)
    plain = run(base, bank, x, [0] * 8)
    seen: list[Tensor] = []
    with torch.no_grad(), bank.applied(bank.gather([1] * 8).first(8)):
        thread = threading.Thread(target=lambda: seen.append(base.module(x).logits))
        thread.start()
        thread.join()
    assert torch.equal(seen[0], plain)


def test_encode_runs_without_adapters_beside_a_bank(base: BaseModel, bank: SlotBank) -> None:
    bank.write(1, adapter(base, 1))
    (with_bank,) = base.encode_each([list(range(5, 40))])
    bank.uninstall()
    assert torch.equal(with_bank, base.encode_each([list(range(5, 40))])[0])


def test_check_refuses_another_base_model(base: BaseModel, bank: SlotBank) -> None:
    other = miniature_base_model(seed=1)
    with pytest.raises(AdapterMismatch, match="Generate it again"):
        bank.check(adapter(other, 1))


def test_check_refuses_too_high_a_rank(base: BaseModel, bank: SlotBank) -> None:
    with pytest.raises(AdapterInvalid, match="rank 5, the engine has room for rank 4"):
        bank.check(random_adapter(base, seed=1, rank=5))


def test_check_refuses_a_module_outside_the_bank(base: BaseModel, bank: SlotBank) -> None:
    with pytest.raises(AdapterInvalid, match="up_proj"):
        bank.check(random_adapter(base, seed=1, target_modules=("up_proj",)))


def test_check_refuses_values_that_are_not_finite(base: BaseModel, bank: SlotBank) -> None:
    sound = adapter(base, 1)
    modules = dict(sound.modules)
    name = next(iter(modules))
    modules[name] = LoraPair(a=modules[name].a * float("nan"), b=modules[name].b)
    with pytest.raises(AdapterInvalid):
        bank.check(dataclasses.replace(sound, modules=modules))


def test_write_refuses_the_base_slot(base: BaseModel, bank: SlotBank) -> None:
    with pytest.raises(ValueError, match="slot from 1 to 5, 0 came"):
        bank.write(0, adapter(base, 1))
