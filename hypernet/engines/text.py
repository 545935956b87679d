"""Turning the tokens of an answer into text while they come."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase


class TextBuilder:
    """Gives out an answer's text as its tokens come: whole characters only, and nothing of a stop text.

    All that it gives out, put together, is the decoded answer up to the first stop text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, stop: Sequence[str] = ()) -> None:
        self._backend = tokenizer.backend_tokenizer
        self._stop = stop
        self._ids: list[int] = []
        # Tokens before `_start` are done with; those up to `_read` are given out and decoded again with what follows,
        # because some tokenizers drop the space before the first token they decode.
        self._start = 0
        self._read = 0
        self._given = ""
        self._held = ""
        self.stopped = False
        """Whether a stop text has appeared."""

    def push(self, token: int) -> str:
        """The text that can be given out now that `token` has come; often empty."""
        self._ids.append(token)
        return self._release(self._decoded(final=False), final=False)

    def finish(self) -> str:
        """The text that was held back, at the end of the answer; an unfinished character as U+FFFD."""
        return self._release(self._decoded(final=True), final=True)

    def _decoded(self, *, final: bool) -> str:
        text: str = self._backend.decode(self._ids[self._start :], skip_special_tokens=True)
        # The replacement character at the end is a character whose other bytes are still to come.
        if len(text) <= len(self._given) or (text.endswith("\ufffd") and not final):
            return ""
        new = text[len(self._given) :]
        self._start, self._read = self._read, len(self._ids)
        self._given = self._backend.decode(self._ids[self._start :], skip_special_tokens=True)
        return new

    def _release(self, new: str, *, final: bool) -> str:
        if self.stopped:
            return ""
        self._held += new
        found = [at for at in (self._held.find(stop) for stop in self._stop) if at >= 0]
        if found:
            self.stopped = True
            released, self._held = self._held[: min(found)], ""
            return released
        keep = 0 if final else max((_overlap(self._held, stop) for stop in self._stop), default=0)
        released = self._held[: len(self._held) - keep]
        self._held = self._held[len(self._held) - keep :]
        return released


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that `stop` begins with and goes on from."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
