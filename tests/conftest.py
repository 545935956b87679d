"""What every test runs under, and the small real things that many tests need."""

import os

# Read when torch is imported: the tensors here are tiny, and pools of threads would only get in each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A test that reaches for a model hub fails at once instead of waiting for a network.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from hypothesis import settings
from jaxtyping import install_import_hook

# Before anything imports the packages: every shape and type annotated in them is checked by every test that runs them.
# The option --jaxtyping-packages would do the same, but it splits its value at the comma before a configured checker.
# `float` accepts int, as type checkers have it (PEP 484); beartype asks to be told. It cannot check `typing.Self` on a
# method: there the class is named instead.
install_import_hook(
    ["hypernet", "training"],
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)

# No deadline: how long an example takes says more about what else the machine is doing than about the code.
settings.register_profile("here", deadline=None)
# The same examples every time, so that a change is judged and not its luck; everywhere else new ones are tried.
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")
