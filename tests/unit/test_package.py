import subprocess
import sys

import pytest
import torch
from jaxtyping import TypeCheckError

import hypernet
from hypernet.adapters import LoraPair


def test_package_imports_no_heavy_library():
    code = "import sys, hypernet.errors; print(sorted({'torch', 'transformers', 'peft'} & set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_package_offers_its_names_lazily():
    from hypernet.adapters import Adapter

    assert hypernet.Adapter is Adapter
    assert set(hypernet.__all__) <= set(dir(hypernet))
    with pytest.raises(AttributeError, match="no attribute 'Adaptor'"):
        hypernet.Adaptor  # noqa: B018 - the access is the test


def test_shapes_in_annotations_are_checked_by_the_tests():
    # The twin of every test that passes: without the hook in conftest.py this one fails.
    with pytest.raises(TypeCheckError):
        LoraPair(a=torch.zeros(2, 6), b=torch.zeros(4, 3))


def test_types_in_annotations_are_checked_by_the_tests():
    with pytest.raises(TypeCheckError):
        LoraPair(a=torch.zeros(2, 6, dtype=torch.int64), b=torch.zeros(4, 2))
