"""What makes an adapter sound: checked before it is stored and again before it is loaded, never assumed."""

from collections.abc import Mapping

from hypernet.adapters.adapter import Adapter
from hypernet.adapters.pair_checks import check_pairs
from hypernet.adapters.provenance import Provenance
from hypernet.errors import AdapterInvalid


def validate(adapter: Adapter, *, expected: Mapping[str, tuple[int, int]] | None = None) -> None:
    """Returns if the adapter is sound, and fits `expected` where that is given.

    `expected` maps the full names of the base model's linear layers to `(d_in, d_out)`; an adapter may change fewer of
    them. Raises: `AdapterInvalid`, naming the module and what is wrong with it, or for a provenance that would not come
    back from a file as it is.
    """
    pairs = {name: (pair.a, pair.b) for name, pair in adapter.modules.items()}
    check_pairs(pairs, rank=adapter.rank, scaling=adapter.scaling)
    if Provenance.from_json(adapter.provenance.to_json()) != adapter.provenance:
        raise AdapterInvalid("The adapter's provenance must hold text as the names of its options.")
    if expected is None:
        return
    for name, (a, b) in pairs.items():
        if name not in expected:
            raise AdapterInvalid(
                f"The base model has no linear layer {name!r}; the adapter was made for another model."
            )
        shapes = (a.shape[1], b.shape[0])
        if shapes != tuple(expected[name]):
            raise AdapterInvalid(
                f"Module {name!r} maps {expected[name][0]} to {expected[name][1]} numbers in the base model, "
                f"{shapes[0]} to {shapes[1]} in the adapter; the adapter was made for another model."
            )
