import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypernet.errors import InvalidRequest, UnsupportedParameter
from serving.bodies import json_object
from serving.chat_schema import parse_chat_request

MINIMAL = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}


def parse(**fields: object):
    return parse_chat_request(json.dumps(MINIMAL | fields).encode())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"1",
        b"{",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b'{"a": ' + b"1" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 50_000,
    ],
)
def test_json_object_refuses_what_is_none(body):
    with pytest.raises(InvalidRequest):
        json_object(body)


@given(st.binary(max_size=64))
def test_json_object_reads_or_refuses_any_bytes(body):
    try:
        assert isinstance(json_object(body), dict)
    except InvalidRequest:
        pass


def test_chat_request_has_defaults_that_repeat():
    sampling = parse().sampling()

    assert (sampling.max_tokens, sampling.temperature, sampling.top_p, sampling.stop) == (128, 0.0, 1.0, ())


def test_chat_request_null_means_absent():
    assert parse(temperature=None, stop=None, tools=None, unheard_of=None).sampling() == parse().sampling()


def test_chat_request_takes_text_parts_and_the_developer_role():
    request = parse(
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Hi "}, {"type": "text", "text": "there"}]},
        ]
    )

    assert [message.rendered() for message in request.messages] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi there"},
    ]


def test_chat_request_takes_the_newer_name_of_max_tokens():
    assert parse(max_completion_tokens=7).sampling().max_tokens == 7


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2),
        ("n", True),
        ("logprobs", True),
        ("logprobs", 0),
        ("tools", [{"type": "function"}]),
        ("presence_penalty", 0.5),
        ("response_format", {"type": "json_object"}),
        ("logit_bias", {"1": 2}),
        ("user", "ada"),
        ("functions", []),
        ("adapter", "x"),
    ],
)
def test_chat_request_refuses_by_name_what_it_does_not_honour(name, value):
    with pytest.raises(UnsupportedParameter, match=name) as caught:
        parse(**{name: value})

    assert caught.value.param == name


@pytest.mark.parametrize("name", ["n", "logprobs", "tools", "presence_penalty", "response_format", "logit_bias"])
def test_chat_request_takes_a_parameter_at_the_value_that_asks_for_nothing(name):
    neutral = {"n": 1, "logprobs": False, "tools": [], "presence_penalty": 0.0, "logit_bias": {}}

    parse(**{name: neutral.get(name, {"type": "text"})})


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": "x", "name": "y"}]}, "messages.0.name"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]}, None),
        ({"model": 1}, "model"),
        ({"temperature": 2.1}, None),
        ({"temperature": "0"}, None),
        ({"top_p": 0}, None),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": 1, "max_completion_tokens": 1}, "max_tokens"),
        ({"stop": [""]}, "stop"),
        ({"stop": ["a"] * 5}, None),
        ({"seed": -1}, "seed"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"include_obfuscation": True}}, None),
    ],
)
def test_chat_request_malformed_is_refused_with_the_field(fields, param):
    with pytest.raises(InvalidRequest) as caught:
        parse(**fields)

    assert caught.value.param
    assert param is None or caught.value.param == param
