from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypernet.errors import InvalidRequest, PreconditionFailed
from hypernet.storage import StoredAdapter
from serving.preconditions import Preconditions, entity_tag

HERE, OTHER = '"1-aa"', '"2-bb"'


def conditions(if_match: str | None = None, if_none_match: str | None = None) -> Preconditions:
    return Preconditions.from_headers(if_match=if_match, if_none_match=if_none_match)


@pytest.mark.parametrize(
    ("if_match", "if_none_match", "current", "goes_on"),
    [
        (None, None, None, True),
        (None, None, HERE, True),
        (HERE, None, HERE, True),
        (HERE, None, OTHER, False),
        (HERE, None, None, False),
        ("*", None, HERE, True),
        ("*", None, None, False),
        (f"{OTHER}, {HERE}", None, HERE, True),
        (f",{OTHER} ,, {HERE},", None, HERE, True),
        # If-Match compares strongly: a weak tag never matches.
        (f"W/{HERE}", None, HERE, False),
        (None, "*", None, True),
        (None, "*", HERE, False),
        (None, HERE, HERE, False),
        # If-None-Match compares weakly.
        (None, f"W/{HERE}", HERE, False),
        (None, OTHER, HERE, True),
        (HERE, OTHER, HERE, True),
    ],
)
def test_preconditions_decide_a_write_as_rfc_9110_says(if_match, if_none_match, current, goes_on):
    if goes_on:
        conditions(if_match, if_none_match).check_write(current)
    else:
        with pytest.raises(PreconditionFailed):
            conditions(if_match, if_none_match).check_write(current)


def test_preconditions_read_is_not_modified_where_the_tag_is_known():
    assert conditions(if_none_match=HERE).not_modified(HERE)
    assert conditions(if_none_match="*").not_modified(HERE)
    assert not conditions(if_none_match=OTHER).not_modified(HERE)
    assert not conditions().not_modified(HERE)


def test_preconditions_read_fails_where_if_match_names_another():
    with pytest.raises(PreconditionFailed):
        conditions(if_match=OTHER).not_modified(HERE)


@pytest.mark.parametrize("value", ["", "1-aa", '"1-aa', '"a" "b"', 'w/"a"', '"a"x', "**", '*, "a"'])
def test_preconditions_malformed_header_is_refused(value):
    with pytest.raises(InvalidRequest, match="If-Match"):
        conditions(if_match=value)


@given(st.text(max_size=200))
def test_preconditions_any_header_is_read_or_refused(value):
    try:
        conditions(if_none_match=value).not_modified(HERE)
    except InvalidRequest:
        pass


def test_entity_tag_differs_by_version_digest_and_part():
    def stored(version: int, digest: str) -> StoredAdapter:
        return StoredAdapter(
            user="ada", version=version, digest=digest, rank=1, size_bytes=1, created_at=datetime.now(UTC), active=True,
            base_model_digest="b", document_digest="d",
        )  # fmt: skip

    tags = {
        entity_tag(stored(1, "a" * 64)),
        entity_tag(stored(2, "a" * 64)),
        entity_tag(stored(1, "b" * 64)),
        entity_tag(stored(1, "a" * 64), part="zip"),
        entity_tag(stored(1, "a" * 64), part="safetensors"),
    }

    assert len(tags) == 5
    assert all(conditions(if_match=tag).present for tag in tags)
