"""A hypernetwork service: a document about someone in, a LoRA adapter for a frozen language model out.

```python
import hypernet

generator = hypernet.load("tiny")
generation = generator.generate("My name is Ada and I keep bees.")
generation.adapter.save("adapters/ada")
```
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hypernet.adapters import Adapter
    from hypernet.documents import Document
    from hypernet.errors import HypernetError
    from hypernet.generators import load

__all__ = ["Adapter", "Document", "HypernetError", "load"]

_HOMES = {
    "Adapter": "hypernet.adapters",
    "Document": "hypernet.documents",
    "HypernetError": "hypernet.errors",
    "load": "hypernet.generators",
}


def __getattr__(name: str) -> Any:
    # torch and transformers take seconds to import; a program that only prints its help must not pay for them.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
