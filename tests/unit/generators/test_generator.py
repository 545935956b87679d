"""The generator: the same adapter for the same document, limits that are said, parts that must belong together."""

import json

import pytest
import torch

import hypernet
from hypernet.adapters.validation import validate
from hypernet.checkpoints import find
from hypernet.engines import InProcessEngine
from hypernet.errors import CheckpointInvalid, CheckpointMismatch, DocumentTooLong, EmptyDocument
from hypernet.generators import Generator
from hypernet.generators.generator import _CHUNKS_AT_ONCE
from hypernet.hypernetworks import Chunks
from hypernet.models import AdaptedModel
from tests.miniature import MAX_DOCUMENT_TOKENS, NAME, write_checkpoint

TEXT = "My name is Ada and I keep bees."


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    write_checkpoint(folder)
    return folder


@pytest.fixture(scope="module")
def generator(root):
    loaded = hypernet.load(NAME, root=root)
    yield loaded
    loaded.close()


def test_same_document_gives_the_same_adapter(generator):
    assert generator.generate(TEXT).adapter.digest == generator.generate(TEXT).adapter.digest


def test_different_documents_give_different_adapters(generator):
    assert generator.generate(TEXT).adapter.digest != generator.generate(TEXT + " And hens.").adapter.digest


def test_adapter_passes_validation_for_its_base_model(generator):
    adapter = generator.generate(TEXT).adapter
    validate(adapter, expected=generator.base.target_shapes(generator.signature.target_modules))
    assert adapter.rank == generator.hypernetwork.config.total_rank


def test_adapter_says_where_it_comes_from(generator):
    provenance = generator.generate(TEXT).adapter.provenance
    assert provenance.base_model_digest == generator.base.digest
    assert provenance.hypernetwork_digest == generator.digest
    assert provenance.document_digest == hypernet.Document.from_text(TEXT).digest


def test_engine_that_encodes_gives_the_same_adapter(generator):
    engine = InProcessEngine(
        generator.base,
        slots=1,
        max_rank=generator.signature.rank,
        target_modules=generator.signature.target_modules,
        max_batch_rows=1,
    )
    try:
        for length in (3, 15, 40, 200):
            text = (TEXT * 10)[:length]
            served = generator.generate(text, encode=engine.encode).adapter
            assert served.digest == generator.generate(text).adapter.digest
    finally:
        engine.close()


def test_document_of_the_limit_is_accepted_and_one_token_more_is_not(generator):
    markup = len(generator.base.render_document("a")) - 1
    longest = "a" * (MAX_DOCUMENT_TOKENS - markup)
    assert generator.generate(longest).document_tokens == MAX_DOCUMENT_TOKENS
    with pytest.raises(
        DocumentTooLong, match=rf"{MAX_DOCUMENT_TOKENS + 1} tokens, the limit .* is {MAX_DOCUMENT_TOKENS}"
    ):
        generator.generate(longest + "a")


@pytest.mark.parametrize("text", ["", "  \n\t "])
def test_empty_document_is_refused(generator, text):
    with pytest.raises(EmptyDocument):
        generator.generate(text)


def test_documents_of_more_chunks_than_are_encoded_at_once_are_the_same_one_by_one(generator):
    texts = [f"I am number {number}" + "!" * (number % 5) for number in range(2 * _CHUNKS_AT_ONCE + 3)]
    for state, text in zip(generator.read(texts), texts, strict=True):
        assert state.to_bytes() == generator.read([text])[0].to_bytes()


def test_stages_are_timed(generator):
    timings = generator.generate(TEXT).timings
    assert min(timings.encode_ms, timings.generate_ms, timings.serialise_ms) > 0


def test_stored_adapter_does_what_the_hypernetwork_meant(generator, root):
    """The folded adapter as it is stored gives the logits that training saw, scaling apart from B."""
    ids = torch.tensor([generator.base.render_chat([{"role": "user", "content": "Who are you?"}])])
    mask = torch.ones_like(ids, dtype=torch.bool)
    document = torch.tensor([generator.base.render_document(TEXT)])
    chunks = Chunks(texts=(TEXT,), ids=document, mask=torch.ones_like(document, dtype=torch.bool))
    network = generator.hypernetwork
    raw = network.join(network(network.features(generator.base, chunks)), [1])
    folded = generator.generate(TEXT).adapter.folded()
    model = AdaptedModel(generator.base, generator.signature.target_modules)
    try:
        trained = model.forward(ids, mask, raw, generator.hypernetwork.config.scaling)
        stored = model.forward(ids, mask, {n: (p.a[None], p.b[None]) for n, p in folded.modules.items()}, 1.0)
        bare = model.forward(ids, mask, None)
    finally:
        model.uninstall()
    torch.testing.assert_close(stored, trained, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(stored, bare, atol=1e-3)


def test_hypernetwork_for_another_base_model_is_refused(tmp_path):
    one, two = write_checkpoint(tmp_path, name="one", seed=1), write_checkpoint(tmp_path, name="two", seed=2)
    (one / "perceiver").rename(tmp_path / "spare")
    (two / "perceiver").rename(one / "perceiver")
    with pytest.raises(CheckpointMismatch, match="trained for the base model two"):
        hypernet.load("one", root=tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"max_document_tokens": "400"},
        {"weights_digest": 3},
        {"chunk_tokens": 1025},
        {"chunk_tokens": 16.0},
        {"max_rank": 1},
        {"strength": 2.1},
        {"strength": float("nan")},
        {"trained_chunks": 0},
        {"architecture": "unheard-of"},
        {"target_modules": "down_proj"},
        {"training": None},
        {"target_modules": ["up_proj"]},
        {"config": {"modules": ["model.layers.0.mlp.down_proj", "elsewhere.down_proj"]}},
        {"config": {"rank": "4"}},
        {"config": {"d_in": [32]}},
        {"config": {"d_in": [0, 0]}},
        {"config": {"unheard_of": 1}},
        {"config": {"width": 0}},
        {"config": {"width": 10**9}},
        {"config": {"heads": 5}},
        {"config": {"scaling": "4"}},
        {"config": {"scaling": float("nan")}},
    ],
    ids=str,
)
def test_manifest_that_was_changed_by_hand_is_refused(tmp_path, change):
    path = write_checkpoint(tmp_path) / "perceiver" / "manifest.json"
    values = json.loads(path.read_text())
    config = {"config": values["config"] | change.get("config", {})}
    path.write_text(json.dumps(values | change | config))
    with pytest.raises(CheckpointInvalid):
        Generator.from_checkpoint(find(NAME, root=tmp_path))


@pytest.mark.parametrize(
    "name", ["base/config.json", "base/model.safetensors", "base/tokenizer.json", "perceiver/manifest.json"]
)
def test_checkpoint_that_lacks_a_file_names_it(tmp_path, name):
    folder = write_checkpoint(tmp_path)
    (folder / name).unlink()
    with pytest.raises(CheckpointInvalid, match=name.split("/")[1].replace(".", r"\.")):
        Generator.from_checkpoint(find(NAME, root=tmp_path))
