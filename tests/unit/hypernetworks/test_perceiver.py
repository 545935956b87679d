"""The Perceiver: zero start, independence of padding and neighbours, gradients everywhere."""

from dataclasses import replace

import pytest
import torch

from hypernet.hypernetworks import Features, PerceiverConfig, PerceiverHypernetwork

CONFIG = PerceiverConfig(
    modules=("model.layers.0.mlp.down_proj", "model.layers.1.mlp.down_proj"),
    d_in=(12, 10),
    d_out=(8, 6),
    feature_layers=2,
    feature_size=8,
    width=16,
    heads=2,
    blocks=2,
    rank=3,
    bias_rank=2,
)


def hypernetwork(*, trained: bool = True, config: PerceiverConfig = CONFIG):
    torch.manual_seed(0)
    network = PerceiverHypernetwork(config)
    if trained:  # away from the zeros that training starts from
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def features(chunks=3, tokens=6):
    values = torch.randn(2, chunks, tokens, 8, generator=torch.Generator().manual_seed(1))
    return Features(values=values, mask=torch.ones(chunks, tokens, dtype=torch.bool))


def test_untrained_hypernetwork_changes_nothing_yet_is_live():
    network = hypernetwork(trained=False)
    for pairs in (network(features()), network.common()):
        for a, b in pairs.values():
            assert torch.count_nonzero(b) == 0
            assert torch.count_nonzero(a) == a.numel()


@pytest.mark.parametrize("shared_latents", [False, True])
@pytest.mark.parametrize("gated", [False, True])
def test_every_module_gets_a_pair_of_its_own_widths(shared_latents, gated):
    network = hypernetwork(config=replace(CONFIG, shared_latents=shared_latents, gated=gated))
    pairs, common = network(features()), network.common()
    assert list(pairs) == list(common) == list(CONFIG.modules)
    for name, d_in, d_out in zip(CONFIG.modules, CONFIG.d_in, CONFIG.d_out, strict=True):
        assert [tuple(t.shape) for t in pairs[name]] == [(3, 3, d_in), (3, d_out, 3)]
        assert [tuple(t.shape) for t in common[name]] == [(1, 2, d_in), (1, d_out, 2)]


def test_padding_does_not_change_a_chunk():
    network, short = hypernetwork(), features(chunks=1, tokens=4)
    padded = Features(
        values=torch.cat([short.values, torch.full((2, 1, 3, 8), 7.0)], dim=2),
        mask=torch.tensor([[True] * 4 + [False] * 3]),
    )
    alone, beside = network(short), network(padded)
    for name in alone:
        for plain, masked in zip(alone[name], beside[name], strict=True):
            torch.testing.assert_close(plain, masked)


def test_chunks_in_a_batch_do_not_mix():
    network, states = hypernetwork(), features()
    together = network(states)
    for index in range(3):
        alone = network(Features(values=states.values[:, index : index + 1], mask=states.mask[:1]))
        for name in alone:
            for one, all_of_them in zip(alone[name], together[name], strict=True):
                torch.testing.assert_close(one[0], all_of_them[index])


def test_chunks_of_a_document_are_joined_on_the_rank_axis_before_the_common_ranks():
    network = hypernetwork()
    pairs, common = network(features()), network.common()
    for name, (a, b) in network.join(pairs, [2, 1]).items():
        update = torch.bmm(b, a)
        parts = torch.bmm(pairs[name][1], pairs[name][0])
        shared = torch.bmm(common[name][1], common[name][0])[0]
        torch.testing.assert_close(update[0], parts[0] + parts[1] + shared)
        torch.testing.assert_close(update[1], parts[2] + shared)
        assert a.shape[1] == b.shape[2] == 2 * 3 + 2


def test_order_of_tokens_matters():
    network, states = hypernetwork(), features(chunks=1)
    turned = network(Features(values=states.values.flip(2), mask=states.mask))
    (a, _), (b, _) = network(states)[CONFIG.modules[0]], turned[CONFIG.modules[0]]
    assert not torch.allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("shared_latents", [False, True])
def test_every_weight_learns(shared_latents):
    network = hypernetwork(config=replace(CONFIG, shared_latents=shared_latents))
    joined = network.join(network(features()), [1, 1, 1])
    sum((a[..., :1] * b.mT[..., :1]).sum() + a.sum() for a, b in joined.values()).backward()
    still = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still


@pytest.mark.parametrize(
    "change", [{"heads": 5}, {"width": 0}, {"rank": 0}, {"bias_rank": -1}, {"scaling": 0.0}, {"d_in": (12,)}], ids=str
)
def test_sizes_that_make_no_perceiver_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change)).replace("d_in", "widths")):
        replace(CONFIG, **change)
