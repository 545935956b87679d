import pickle
import re

import pytest

from hypernet import errors
from hypernet.errors import AdapterNotFound, DocumentTooLong, HypernetError


def _tree(cls: type[HypernetError]) -> list[type[HypernetError]]:
    return [cls, *(found for sub in cls.__subclasses__() for found in _tree(sub))]


def _ours() -> list[type[HypernetError]]:
    return [cls for cls in _tree(HypernetError) if cls.__module__ == "hypernet.errors"]


def _drawn() -> list[tuple[str, str, str, int]]:
    """Parent, name, code and status of every line of the tree in the module's docstring, in its order."""
    rows, parents = [], [""]
    for line in (errors.__doc__ or "").split("```")[1].strip().splitlines():
        bars, name, code, status = re.fullmatch(r"([ │├└─]*)(\w+) +(\w+) +(\d+)", line).groups()
        depth = len(bars) // 4
        parents[depth + 1 :] = [name]
        rows.append((parents[depth], name, code, int(status)))
    return rows


def test_errors_docstring_draws_the_tree_that_is_there():
    there = [(cls.__base__.__name__, cls.__name__, cls.code, cls.http_status) for cls in _ours()]

    assert [("", *row[1:]) if row[1] == "HypernetError" else row for row in there] == _drawn()


def test_errors_all_have_a_code_and_a_status_of_their_own_or_inherited():
    assert all(re.fullmatch(r"[a-z]+(_[a-z0-9]+)*", cls.code) and 400 <= cls.http_status <= 503 for cls in _ours())


@pytest.mark.parametrize("cls", _ours(), ids=lambda cls: cls.__name__)
def test_error_survives_pickling_with_its_message_and_extras(cls):
    error = pickle.loads(pickle.dumps(cls("what came", param="document")))  # noqa: S301 - our own bytes

    assert type(error) is cls
    assert error.message == str(error) == "what came"
    assert error.param == "document"


def test_error_extras_survive_pickling():
    error = pickle.loads(pickle.dumps(DocumentTooLong("too long", limit=10, count=11)))  # noqa: S301 - our own bytes

    assert (error.limit, error.count) == (10, 11)


def test_error_refuses_an_extra_that_its_class_does_not_declare():
    with pytest.raises(TypeError, match="no attribute 'limitt'"):
        DocumentTooLong("too long", limitt=10)


def test_adapter_not_found_says_one_thing():
    assert str(AdapterNotFound()) == "No such adapter."
