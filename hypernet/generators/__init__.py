"""From a document to an adapter: the base model reads, the hypernetwork writes."""

from hypernet.generators.generator import Encode, Generation, Generator, Timings, load

__all__ = ["Encode", "Generation", "Generator", "Timings", "load"]
