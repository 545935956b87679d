"""Cutting a document into the pieces that a hypernetwork reads at once."""

import re
from collections.abc import Callable
from math import ceil

# Where a text may be cut, best first: between paragraphs, between lines or sentences, between words. A match ends
# where the second piece begins.
_BORDERS = (
    re.compile(r"\n[^\S\n]*\n\s*"),
    re.compile(r"\n\s*|(?<=[.!?\u2026])[\"'\u201d\u2019)\]]*\s+|(?<=[\u3002\uff01\uff1f])"),
    re.compile(r"\s+"),
)

# Chunks are planned to be this full at most, so that a cut has room to move to a border.
_FILLING = 0.9

# How far from the place that makes chunks equal a cut may be, as a share of a chunk.
_LEEWAY = 0.25


def split_into_chunks(text: str, *, count_tokens: Callable[[str], int], chunk_tokens: int) -> list[str]:
    """``text`` in pieces of at most ``chunk_tokens``, in order, of about the same size, none of them blank.

    A text that fits is returned as it is. Otherwise the pieces hold every character of it, white space at their ends
    excepted. They are cut between paragraphs; where none ends near, between lines or sentences, then between words,
    and only a longer word than fits is cut itself, between two code points.

    Args:
        text: not blank.
        count_tokens: how many tokens a piece takes, markup around it included.
        chunk_tokens: the most tokens of a piece, markup included.

    Raises:
        ValueError: a single character takes more than ``chunk_tokens``.
    """
    if count_tokens(text) <= chunk_tokens:
        return [text]
    return _split(text.strip(), count_tokens, chunk_tokens, markup=count_tokens(""))


def tokens_of_chunks(chunks: int, *, chunk_tokens: int, markup: int) -> int:
    """The length of a text, in tokens, that `split_into_chunks` cuts into about so many pieces: in the middle of the
    lengths for which it plans that, since cuts move to borders.

    Args:
        chunks: pieces, at least 1.
        chunk_tokens: the most tokens of a piece, markup included.
        markup: tokens of the markup around a piece.
    """
    if chunks == 1:
        return chunk_tokens
    return int((chunks - 0.5) * _FILLING * max(1, chunk_tokens - markup)) + markup


def _split(text: str, count_tokens: Callable[[str], int], chunk_tokens: int, *, markup: int) -> list[str]:
    tokens = count_tokens(text)
    if tokens <= chunk_tokens:
        return [text]
    if len(text) == 1:
        raise ValueError(f"chunks of {chunk_tokens} tokens are too small for a single character, which takes {tokens}")
    pieces = max(2, ceil((tokens - markup) / (_FILLING * max(1, chunk_tokens - markup))))
    cut = _cut(text, pieces)
    return [
        chunk
        for half in (text[:cut].rstrip(), text[cut:].lstrip())
        for chunk in _split(half, count_tokens, chunk_tokens, markup=markup)
    ]


def _cut(text: str, pieces: int) -> int:
    """Where to cut a text, stripped, that is to become so many pieces: near the middle, in whole pieces."""
    size = len(text) / pieces
    ideal = size * (pieces // 2)
    near = max(1, round(ideal - _LEEWAY * size)), min(len(text) - 1, round(ideal + _LEEWAY * size))
    # A border between words is looked for everywhere before a word is cut.
    for border, (first, last) in (*((border, near) for border in _BORDERS), (_BORDERS[-1], (1, len(text) - 1))):
        places = [match.end() for match in border.finditer(text, first, last) if match.end() >= first]
        if places:
            return min(places, key=lambda place: abs(place - ideal))
    return min(max(1, round(ideal)), len(text) - 1)
