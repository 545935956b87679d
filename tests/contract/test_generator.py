"""What every generator promises, run against every architecture."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import hypernet
from hypernet.adapters import validate
from hypernet.engines import CompletionRequest, InProcessEngine, Sampling
from hypernet.errors import CheckpointMismatch, DocumentTooLong, EmptyDocument, InvalidRequest, NotFound, StateMismatch
from hypernet.generators import Generator, State
from hypernet.generators.releasing import write_refining_checkpoint
from hypernet.hypernetworks import read_manifest
from hypernet.models import AdaptedModel
from tests.miniature import NAME, write_checkpoint, write_other_architectures

FOLDERS = ("perceiver", "mlp", "mean", "finetune", "refining")
ADA = "My name is Ada and I keep bees."
BRUNO = "I am Bruno, a baker, afraid of heights."
CHUNK_TOKENS = 64
LONG = "\n\n".join(f"On day {day} I went to the river, and then home." for day in range(5))


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    write_other_architectures(write_checkpoint(folder, chunk_tokens=CHUNK_TOKENS, max_document_tokens=600))
    return folder


@pytest.fixture(scope="module")
def load(root) -> Iterator[Callable[[str], Generator]]:
    loaded: dict[str, Generator] = {}

    def one(folder: str) -> Generator:
        if folder not in loaded:
            loaded[folder] = hypernet.load(f"{NAME}/{folder}", root=root)
        return loaded[folder]

    yield one
    for generator in loaded.values():
        generator.close()


@pytest.fixture(params=FOLDERS)
def generator(request, load) -> Generator:
    return load(request.param)


def engine_of(generator: Generator) -> InProcessEngine:
    signature = generator.signature
    return InProcessEngine(
        generator.base, slots=2, max_rank=signature.rank, target_modules=signature.target_modules, max_batch_rows=4
    )


def says(engine: InProcessEngine, generator: Generator, digest: str | None) -> list[int]:
    prompt = generator.base.render_chat([{"role": "user", "content": "Who are you?"}])
    request = CompletionRequest(prompt_ids=tuple(prompt), adapter=digest, sampling=Sampling(max_tokens=12))
    return [token for delta in engine.complete(request) for token in delta.token_ids]


def test_signature_binds_base_model_targets_rank_and_digest(generator, root):
    manifest = read_manifest(root / NAME / (generator.name.partition("/")[2] or "perceiver"))
    signature = generator.signature

    assert signature.architecture == manifest.architecture
    assert signature.base_model_digest == generator.base.digest == manifest.base_model_digest
    assert signature.target_modules == ("down_proj",)
    assert (signature.rank, signature.digest) == (manifest.max_rank, manifest.digest)
    assert (generator.chunk_tokens, generator.strength) == (CHUNK_TOKENS, 1.0)


def test_read_of_many_is_the_same_to_the_bit_as_one_by_one(generator):
    together = generator.read([ADA, LONG, BRUNO])

    assert [state.chunks for state in together] == [1, 5, 1]
    for state, document in zip(together, (ADA, LONG, BRUNO), strict=True):
        (alone,) = generator.read([document])
        assert state.to_bytes() == alone.to_bytes()


def test_generate_is_read_and_write_and_gives_the_same_digest_every_time(generator):
    generation = generator.generate(LONG)
    (state,) = generator.read([LONG])

    assert generation.adapter.digest == generator.write(state).digest == generator.generate(LONG).adapter.digest
    assert (generation.chunks, generation.document_tokens) == (5, state.tokens)


def test_checkpoint_loaded_again_gives_the_same_adapter(generator, root):
    again = hypernet.load(generator.name, root=root)

    assert again.signature == generator.signature
    assert again.generate(ADA).adapter.digest == generator.generate(ADA).adapter.digest
    again.close()


def test_only_the_mean_gives_everybody_the_same(generator):
    one, other = generator.generate(ADA).adapter, generator.generate(BRUNO).adapter
    same = all(torch.equal(one.modules[name].b, other.modules[name].b) for name in one.modules)

    assert same == (generator.signature.architecture == "mean")
    assert one.digest != other.digest


def test_adapter_is_sound_and_never_of_more_rank_than_the_signature_says(generator):
    for document in (ADA, LONG):
        adapter = generator.generate(document).adapter
        validate(adapter, expected=generator.base.target_shapes(generator.signature.target_modules))
        assert adapter.rank <= generator.signature.rank


def test_write_compresses_what_is_over_the_rank_and_says_so(generator):
    (state,) = generator.read([LONG])
    rank = state.rank + generator.hypernetwork.config.bias_rank
    whole, small = generator.write(state, max_rank=rank), generator.write(state, max_rank=3)

    assert (whole.rank, small.rank) == (rank, 3)
    assert whole.provenance.options == {"chunks": 5}
    assert small.provenance.options == {"chunks": 5, "compressed_from_rank": rank}


def test_documents_add_up_in_any_order_and_each_counts_once(generator):
    ada, bruno, long = generator.read([ADA, BRUNO, LONG])
    first, second = ada + bruno + long, long + (bruno + ada) + ada

    assert generator.write(first).digest == generator.write(second).digest
    assert generator.write(first).digest == generator.generate([LONG, ADA, BRUNO, ADA]).adapter.digest
    assert (first.chunks, len(first.documents)) == (7, 3)


def test_removed_document_is_gone_exactly(generator):
    ada, bruno = generator.read([ADA, BRUNO])
    without = (ada + bruno).without(bruno.documents[0].digest)

    assert generator.write(without).digest == generator.write(ada).digest
    assert without.to_bytes() == ada.to_bytes()
    with pytest.raises(NotFound):
        without.without(bruno.documents[0].digest)
    with pytest.raises(EmptyDocument, match="no documents"):
        generator.write(without.without(ada.documents[0].digest))


def test_state_survives_its_bytes(generator):
    state = generator.generate([ADA, LONG]).state
    again = State.from_bytes(state.to_bytes())

    assert again.to_bytes() == state.to_bytes()
    assert generator.write(again).digest == generator.write(state).digest


def test_state_of_another_generator_is_refused(generator, load):
    other = load("mlp" if generator.signature.architecture == "perceiver" else "perceiver")
    (state,) = other.read([ADA])

    with pytest.raises(StateMismatch, match="another generator"):
        generator.write(state)
    with pytest.raises(StateMismatch, match="different generators"):
        state + generator.read([BRUNO])[0]


def test_engine_that_encodes_gives_the_same_adapter_and_serves_it(generator):
    alone = {document: generator.generate(document).adapter for document in (ADA, LONG)}
    engine = engine_of(generator)
    try:
        bare = says(engine, generator, None)
        for document, adapter in alone.items():
            served = generator.generate(document, encode=engine.encode).adapter
            assert served.digest == adapter.digest
            engine.put(served)
            assert says(engine, generator, served.digest) == says(engine, generator, served.digest) != []
        assert says(engine, generator, None) == bare
    finally:
        engine.close()


def test_strength_multiplies_the_update_and_zero_is_the_base_model_exactly(generator):
    (state,) = generator.read([ADA])
    ids = torch.tensor([generator.base.render_chat([{"role": "user", "content": "Who are you?"}])])
    mask = torch.ones_like(ids, dtype=torch.bool)
    whole, half, none = (generator.write(state, strength=strength).folded() for strength in (1.0, 0.5, 0.0))
    model = AdaptedModel(generator.base, generator.signature.target_modules)
    try:
        bare = model(ids, mask, None)
        logits = {
            adapter.digest: model(ids, mask, {n: (p.a[None], p.b[None]) for n, p in adapter.modules.items()})
            for adapter in (whole, none)
        }
    finally:
        model.uninstall()

    assert torch.equal(logits[none.digest], bare)
    assert not torch.equal(logits[whole.digest], bare)
    for name, pair in whole.modules.items():
        assert torch.equal(half.modules[name].b, 0.5 * pair.b)
    assert whole.provenance.options.get("strength") is None
    assert half.provenance.options["strength"] == 0.5


@pytest.mark.parametrize("strength", [-0.01, 2.01, float("nan"), float("inf")])
def test_strength_out_of_range_is_refused_by_name(generator, strength):
    (state,) = generator.read([ADA])
    with pytest.raises(InvalidRequest, match="strength") as caught:
        generator.write(state, strength=strength)
    assert caught.value.param == "strength"


def test_document_over_the_limit_is_refused(generator):
    with pytest.raises(DocumentTooLong, match=r"limit of .* is 600"):
        generator.read([ADA, "a" * 600])


def test_documents_that_make_one_adapter_share_the_limit_and_are_refused_before_any_is_read(generator):
    texts = [f"{letter * 98} {letter}" for letter in "abcdef"]
    read: list[int] = []

    def encode(sequences):
        read.append(len(sequences))
        return generator.base.encode_each(sequences)

    with pytest.raises(DocumentTooLong, match=r"6 documents .* limit of .* is 600"):
        generator.generate(texts, encode=encode)
    assert read == []
    assert len(generator.read(texts)) == 6
    assert len(generator.generate(texts[:1] * 9).state.documents) == 1


def test_strength_out_of_range_is_refused_before_anything_is_read(generator):
    with pytest.raises(InvalidRequest, match="strength"):
        generator.generate("", strength=3.0)


def test_refining_checkpoint_that_names_itself_is_refused(root, tmp_path):
    shutil.copytree(root / NAME, tmp_path / NAME)
    path = tmp_path / NAME / "refining" / "manifest.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"config": values["config"] | {"start": "refining"}}))
    with pytest.raises(CheckpointMismatch, match="refines 'refining'"):
        hypernet.load(f"{NAME}/refining", root=tmp_path)


def test_reading_leaves_the_base_model_as_it_was(generator):
    before = {name: tensor.clone() for name, tensor in generator.base.module.state_dict().items()}
    generator.read([ADA])

    assert all(torch.equal(before[name], tensor) for name, tensor in generator.base.module.state_dict().items())
    assert not any(parameter.requires_grad for parameter in generator.base.module.parameters())


def test_refinement_begins_with_what_the_start_generates_at_its_own_strength(tmp_path):
    folder = write_checkpoint(tmp_path, chunk_tokens=CHUNK_TOKENS)
    path = folder / "perceiver" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"strength": 0.75}))
    start = hypernet.load(NAME, root=tmp_path)
    write_refining_checkpoint(
        start, folder / "refining", queries=("Who are you?",), steps=1, max_reply_tokens=4, learning_rate=1e-12
    )
    refined = hypernet.load(f"{NAME}/refining", root=tmp_path)
    one, other = (generator.generate(ADA).adapter.folded().modules for generator in (start, refined))

    for name, pair in one.items():
        torch.testing.assert_close(other[name].b @ other[name].a, pair.b @ pair.a)
    refined.close()
    start.close()


def test_calibrated_strength_is_the_default(root, tmp_path):
    folder = write_checkpoint(tmp_path, chunk_tokens=CHUNK_TOKENS)
    path = folder / "perceiver" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"strength": 0.75}))
    calibrated = hypernet.load(NAME, root=tmp_path)

    generation = calibrated.generate(ADA)
    assert (calibrated.strength, generation.strength) == (0.75, 0.75)
    assert generation.adapter.provenance.options["strength"] == 0.75
    assert calibrated.generate(ADA, strength=1.0).adapter.provenance.options == {"chunks": 1}
    calibrated.close()
