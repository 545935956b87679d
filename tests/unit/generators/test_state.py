"""States: sums that forget order and repetition, bytes that come back, damage that is refused."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hypernet.adapters import LoraPair, tensor_file
from hypernet.errors import StateInvalid, StateMismatch
from hypernet.generators import ReadDocument, State

MODULES = ("model.layers.0.mlp.down_proj", "model.layers.1.mlp.down_proj")
DOCUMENTS = "abcde"
ENTRY = {"chunks": 2, "digest": "a" * 64, "tokens": 7}
"""What the bytes of `state("a")` say of its document."""


def document(digest: str, chunks: int = 2) -> ReadDocument:
    random = torch.Generator().manual_seed(ord(digest))
    pairs = [
        {
            name: LoraPair(a=torch.randn(3, 4, generator=random), b=torch.randn(5, 3, generator=random))
            for name in MODULES
        }
        for _ in range(chunks)
    ]
    return ReadDocument(digest=digest * 64, tokens=7, chunks=tuple(pairs))


def state(digests: str, signature: str = "s") -> State:
    return State(signature=signature, documents=tuple(document(digest) for digest in digests))


@given(st.lists(st.sampled_from(DOCUMENTS), max_size=8), st.lists(st.sampled_from(DOCUMENTS), max_size=8))
def test_sum_is_the_set_of_documents_whatever_their_order(first, second):
    together = state("".join(first)) + state("".join(second))

    assert together.to_bytes() == state("".join(sorted({*first, *second}))).to_bytes()
    assert (together.chunks, together.rank) == (2 * len({*first, *second}), 6 * len({*first, *second}))


@given(st.sets(st.sampled_from(DOCUMENTS), min_size=1))
def test_what_is_taken_out_leaves_no_trace(digests):
    gone = min(digests)
    left = state("".join(digests)).without(gone * 64)

    assert left.to_bytes() == state("".join(digests - {gone})).to_bytes()


def test_document_digest_is_the_documents_own_or_one_over_all():
    assert state("a").document_digest == "a" * 64
    assert state("ab").document_digest == state("ba").document_digest != state("ac").document_digest


def test_states_of_other_generators_do_not_add_up():
    with pytest.raises(StateMismatch):
        state("a") + state("b", signature="t")


@given(st.sets(st.sampled_from(DOCUMENTS)))
def test_bytes_come_back_bit_for_bit(digests):
    one = state("".join(digests))
    again = State.from_bytes(one.to_bytes())

    assert again.to_bytes() == one.to_bytes()
    assert [d.digest for d in again.documents] == [d.digest for d in one.documents]
    assert again.tokens == one.tokens


@pytest.mark.parametrize("damage", [lambda d: d[:-1], lambda d: d + b"x", lambda d: b"", lambda d: d[8:]])
def test_damaged_bytes_are_refused(damage):
    with pytest.raises(StateInvalid, match="state"):
        State.from_bytes(damage(state("ab").to_bytes()))


@pytest.mark.parametrize(
    "change",
    [
        {"format_version": 2},
        {"signature": 1},
        {"documents": []},
        {"documents": None},
        {"documents": [{}]},
        {"documents": [ENTRY | {"tokens": "7"}]},
        {"documents": [ENTRY | {"tokens": 0}]},
        {"documents": [ENTRY | {"chunks": 1}]},
        {"documents": [ENTRY | {"chunks": 10**30}]},
        {"documents": [ENTRY | {"digest": "a"}]},
        {"documents": [ENTRY | {"digest": "\ud800" * 64}]},
        {"documents": [ENTRY | {"digest": None}]},
        {"documents": [ENTRY | {"chunks": 1}] * 2},
        {"documents": [ENTRY | {"chunks": 1, "digest": letter * 64} for letter in "ba"]},
    ],
    ids=str,
)
def test_metadata_that_was_changed_is_refused(change):
    file = tensor_file.decode(state("a").to_bytes())
    about = json.loads(file.metadata["hypernet-state"]) | change
    data = tensor_file.encode(file.tensors, metadata={"hypernet-state": json.dumps(about)})
    with pytest.raises(StateInvalid):
        State.from_bytes(data)


def test_metadata_as_the_tests_above_have_it_is_accepted():
    file = tensor_file.decode(state("a").to_bytes())
    about = json.loads(file.metadata["hypernet-state"]) | {"documents": [ENTRY]}
    data = tensor_file.encode(file.tensors, metadata={"hypernet-state": json.dumps(about)})
    assert State.from_bytes(data).to_bytes() == state("a").to_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b[:1],
        lambda b: b[:, :, :1],
        lambda b: b[0],
        lambda b: b.index_fill(1, torch.tensor([0]), float("nan")),
        lambda b: b.index_fill(1, torch.tensor([0]), float("inf")),
    ],
)
def test_tensors_of_unequal_shapes_or_without_finite_values_are_refused(damage):
    file = tensor_file.decode(state("a").to_bytes())
    name = f"b.{MODULES[0]}"
    data = tensor_file.encode(dict(file.tensors) | {name: damage(file.tensors[name])}, metadata=file.metadata)
    with pytest.raises(StateInvalid):
        State.from_bytes(data)


@pytest.mark.parametrize("extra", ["c.elsewhere", "a.elsewhere", "b.elsewhere"])
def test_tensor_without_its_like_is_refused(extra):
    file = tensor_file.decode(state("a").to_bytes())
    data = tensor_file.encode(dict(file.tensors) | {extra: torch.ones(2, 3, 4)}, metadata=file.metadata)
    with pytest.raises(StateInvalid):
        State.from_bytes(data)


def test_header_grows_by_a_line_for_a_document_and_not_by_its_modules():
    one, four = (int.from_bytes(state(digests).to_bytes()[:8], "little") for digests in ("a", "abcd"))
    assert one < four < one + 3 * 150


def test_adapter_is_no_state():
    with pytest.raises(StateInvalid):
        State.from_bytes(tensor_file.encode({"a": torch.ones(1)}, metadata={"format": "pt"}))
