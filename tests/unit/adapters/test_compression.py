"""Compression: as near as any adapter of that rank can come, never larger, the same every time."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hypernet.adapters import Adapter, compress, validate
from tests.samples import sample_adapter


def updates(adapter: Adapter) -> dict[str, torch.Tensor]:
    return {name: adapter.scaling * pair.b.double() @ pair.a.double() for name, pair in adapter.modules.items()}


@given(
    rank=st.integers(1, 12),
    kept=st.integers(1, 12),
    d_in=st.integers(1, 10),
    d_out=st.integers(1, 10),
    seed=st.integers(0, 5),
)
def test_compressed_adapter_is_the_best_of_its_rank(rank, kept, d_in, d_out, seed):
    adapter = sample_adapter(seed, rank=rank, d_in=d_in, d_out=d_out, scaling=0.5)
    small = compress(adapter, kept)

    assert small.rank == min(rank, kept)
    for name, update in updates(adapter).items():
        error = torch.linalg.norm(update - updates(small)[name])
        least = torch.linalg.norm(torch.linalg.svdvals(update)[kept:]) if kept < rank else torch.zeros(())
        assert error <= least + 1e-5 * (1 + torch.linalg.norm(update))


def test_compressing_twin_chunks_to_the_rank_of_one_loses_nothing():
    adapter = sample_adapter(rank=3)
    twice = Adapter(
        modules={
            name: type(pair)(a=torch.cat([pair.a, pair.a]), b=torch.cat([pair.b, pair.b], dim=1))
            for name, pair in adapter.modules.items()
        },
        rank=6,
        scaling=0.5,
        provenance=adapter.provenance,
    )
    small = compress(twice, 3)

    for name, update in updates(adapter).items():
        torch.testing.assert_close(updates(small)[name], update, atol=1e-5, rtol=1e-5)


def test_factors_of_a_compressed_adapter_share_the_size_between_them():
    for pair in compress(sample_adapter(rank=4), 2).modules.values():
        torch.testing.assert_close(pair.a.norm(dim=1), pair.b.norm(dim=0))


def test_compressed_adapter_is_sound_repeatable_and_keeps_where_it_comes_from():
    adapter = sample_adapter(rank=5, scaling=4.0)
    small, again = compress(adapter, 2), compress(adapter, 2)

    validate(small)
    assert small.digest == again.digest != adapter.digest
    assert (small.scaling, small.provenance) == (adapter.scaling, adapter.provenance)
    assert all(pair.a.dtype == torch.float32 for pair in small.modules.values())


def test_adapter_of_no_more_rank_comes_back_as_it_is():
    adapter = sample_adapter(rank=2)
    assert compress(adapter, 2) is compress(adapter, 3) is adapter


def test_adapter_of_zeros_stays_one():
    adapter = sample_adapter(rank=3)
    for pair in adapter.modules.values():
        pair.b.zero_()
    assert all(not pair.b.any() and pair.a.isfinite().all() for pair in compress(adapter, 1).modules.values())


def test_rank_below_one_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        compress(sample_adapter(), 0)
