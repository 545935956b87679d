import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypernet.documents import Document
from hypernet.errors import DocumentEncodingError, DocumentError, EmptyDocument


@pytest.mark.parametrize(
    "data",
    [
        b"I am Ada.\n",
        b"\xef\xbb\xbfI am Ada.\n",
        b"\xef\xbb\xbf" * 2 + b"I am Ada.\n",
        b"I am Ada.\r\n",
        b"I am Ada.\r",
    ],
)
def test_document_is_the_same_whatever_the_file_endings(data):
    document = Document.from_bytes(data)

    assert document.text == "I am Ada.\n"
    assert document.digest == hashlib.sha256(b"I am Ada.\n").hexdigest()


def test_document_keeps_every_other_character():
    text = " \tZoë\u2028👩‍🚀 \n\n"

    assert Document.from_text(text).text == Document.from_bytes(text.encode()).text == text


def test_document_is_checked_however_it_is_made():
    assert Document(text="I am Ada.\r\n") == Document.from_bytes(b"I am Ada.\r\n")
    with pytest.raises(EmptyDocument):
        Document(text=" ")


@pytest.mark.parametrize("data", [b"", b" \r\n\t", b"\xef\xbb\xbf", "\u2003\n".encode()])
def test_document_refuses_blank_bytes(data):
    with pytest.raises(EmptyDocument):
        Document.from_bytes(data)


def test_document_refuses_bytes_that_are_not_utf8_and_says_where():
    with pytest.raises(DocumentEncodingError, match="byte 11 of 14") as caught:
        Document.from_bytes("I am from Köln".encode("latin-1"))

    assert caught.value.offset == 11


def test_document_refuses_utf16():
    with pytest.raises(DocumentError):
        Document.from_bytes("I am Ada.".encode("utf-16"))


def test_document_refuses_nul_and_lone_surrogates():
    with pytest.raises(DocumentEncodingError, match="character 3"):
        Document.from_bytes(b"Ada\0")
    with pytest.raises(DocumentEncodingError, match="character 3"):
        Document.from_text("Ada\ud800")


@pytest.mark.parametrize("data", [b"my secret \xff", b"my secret \0"])
def test_document_text_is_in_no_error(data):
    with pytest.raises(DocumentError) as caught:
        Document.from_bytes(data)

    assert "secret" not in repr(caught.value)
    assert caught.value.__cause__ is None


def test_document_text_is_not_in_its_repr():
    assert "secret" not in repr(Document.from_text("my secret"))


@given(st.binary(max_size=64))
def test_document_is_made_of_any_bytes_or_refuses_them_by_an_error_of_ours(data):
    try:
        document = Document.from_bytes(data)
    except DocumentError:
        return
    assert Document.from_bytes(document.text.encode()).digest == document.digest
