"""What a generator's states and adapters belong to."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Signature:
    """What decides whether two generators understand each other, and what an engine needs room for.

    Attributes:
        architecture: name of the hypernetwork's architecture.
        base_model: name of the base model, for people.
        base_model_digest: its revision.
        target_modules: last parts of the target modules' names.
        rank: the most ranks that an adapter has.
        digest: the hypernetwork's identity. It covers everything here and the weights, so that states of equal digest
            are interchangeable.
    """

    architecture: str
    base_model: str
    base_model_digest: str
    target_modules: tuple[str, ...]
    rank: int
    digest: str
