"""The few shapes that batches are run at, so that a row's bits do not depend on who shares its batch.

A CPU's matrix product picks its kernel by the number of rows: measured with MKL on an AMD EPYC, at widths of 16 to
2,048 and one to eight threads, a remainder of one to three rows gives other last bits than the rest, and every multiple
of four gives the same bits, wherever in the batch a row stands. The attention kernel picks its blocks by the number of
queries. So rows come in tiles of four, cached keys in tiles of 64, and what is read whole (a prompt, a document) is
padded to a length that depends on nothing but its own.
"""

ROW_TILE = 4
"""Rows of a decode step are padded to a multiple of this."""

KEY_TILE = 64
"""Cached keys that a decode step looks at, in positions, are padded to a multiple of this."""

_LENGTHS = (16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024)


def round_up(count: int, *, tile: int) -> int:
    """The least multiple of `tile` that is at least `count`, and at least one tile."""
    return max(1, -(-count // tile)) * tile


def padded_length(tokens: int) -> int:
    """The length, in tokens, that a sequence of `tokens` is padded to; a multiple of 16, at most half as much again.

    Beyond 1,024 tokens it is the next multiple of 512.
    """
    for length in _LENGTHS:
        if tokens <= length:
            return length
    return round_up(tokens, tile=512)
