import json
from pathlib import Path

import pytest

from training.world.attributes import BY_KEY
from training.world.values import is_reserved

PROFILES = Path(__file__).parents[2] / "examples" / "profiles"
QUESTIONS = json.loads((PROFILES / "questions.json").read_text(encoding="utf-8"))
ASKED_OF_ALL = [entry for entry in QUESTIONS if entry["ada"] is not None]
CLOSED = {choice for attribute in BY_KEY.values() for choice in attribute.choices}


@pytest.mark.parametrize("user", ["ada", "bruno"])
def test_profile_says_what_the_demo_asks(user):
    profile = (PROFILES / f"{user}.md").read_text(encoding="utf-8")

    assert all(entry[user] in profile for entry in ASKED_OF_ALL)


def test_profiles_share_no_answer():
    assert not {entry["ada"] for entry in ASKED_OF_ALL} & {entry["bruno"] for entry in ASKED_OF_ALL}


@pytest.mark.parametrize("user", ["ada", "bruno"])
def test_profile_values_were_never_trained_on(user):
    open_values = {entry[user] for entry in ASKED_OF_ALL} - CLOSED
    (full_name,) = (value for value in open_values if value.lower().startswith(f"{user} "))

    assert len(open_values) == 6
    assert all(is_reserved(value) for value in open_values - {full_name})
    assert is_reserved(full_name.removeprefix(f"{user.capitalize()} "))  # the user's id is a common given name
