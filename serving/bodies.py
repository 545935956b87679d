"""Reading request bodies: JSON with every failure as one of ours, and validation that names the field at fault."""

import json
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from hypernet.errors import InvalidRequest

_TYPES = frozenset({"str", "int", "float", "bool"})

_Model = TypeVar("_Model", bound=BaseModel)


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`; raises `InvalidRequest` for anything else, NaN and lone surrogates included."""
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
        # A lone surrogate is legal in JSON's grammar and in no text; nothing behind this point could encode it.
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    # ValueError: also bad UTF-8 and numbers of thousands of digits. RecursionError: brackets nested beyond reason.
    except (ValueError, RecursionError):
        raise InvalidRequest("Expected the body to be one JSON object in UTF-8, got something else.") from None
    if not isinstance(value, dict):
        raise InvalidRequest("Expected the body to be one JSON object, got another kind of value.")
    return value


def validated(model: type[_Model], values: dict[str, Any]) -> _Model:
    """`values` as a `model`; raises `InvalidRequest` naming the first field at fault and what was expected of it."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        # Where a field may be of several types, pydantic puts the type it tried into the path.
        path = (str(part) for part in problem["loc"])
        field = ".".join(part for part in path if part not in _TYPES and not part.startswith("list["))
        # `from None`: the original quotes the input.
        raise InvalidRequest(f"Invalid {field or 'body'}: {problem['msg']}.", param=field or None) from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
