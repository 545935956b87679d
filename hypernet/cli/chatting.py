"""`hypernet chat`: a conversation in the terminal."""

import sys

from hypernet import checkpoints
from hypernet.adapters import Adapter
from hypernet.cli.local_store import local_store
from hypernet.cli.output import working
from hypernet.engines import CompletionRequest, Engine, InProcessEngine, Sampling
from hypernet.models import BaseModel
from hypernet.settings import Settings

QUIT = "/quit"
_LEAVING = frozenset({QUIT, "/exit", "/bye"})


def talk(
    settings: Settings,
    *,
    user: str | None,
    version: int | None,
    system: str | None,
    max_tokens: int,
    temperature: float,
) -> None:
    """Runs a conversation between standard input and output; raises `HypernetError`."""
    adapter = None
    if user is not None:
        with local_store(settings) as (store, scope):
            _, adapter = store.get(scope.user(user), version=version)
    with working(f"loading {settings.checkpoint}"):
        base, engine = _engine(settings, adapter)
    sampling = Sampling(max_tokens=max_tokens, temperature=temperature)
    conversation = Conversation(base=base, engine=engine, adapter=adapter, sampling=sampling, system=system)
    try:
        _talk(conversation, interactive=sys.stdin.isatty() and sys.stdout.isatty())
    finally:
        engine.close()
        base.close()


class Conversation:
    """Turns so far, and how the next one is made."""

    def __init__(
        self,
        *,
        base: BaseModel,
        engine: Engine,
        adapter: Adapter | None,
        sampling: Sampling,
        system: str | None,
    ) -> None:
        self._base = base
        self._engine = engine
        self._adapter = adapter.digest if adapter is not None else None
        self._sampling = sampling
        self._opening = [{"role": "system", "content": system}] if system else []
        self._turns: list[dict[str, str]] = []

    def say(self, text: str) -> None:
        """Writes the answer to `text` on standard output while it is made."""
        self._turns.append({"role": "user", "content": text})
        answer: list[str] = []
        stream = self._engine.complete(
            CompletionRequest(prompt_ids=self._prompt(), adapter=self._adapter, sampling=self._sampling)
        )
        try:
            for delta in stream:
                answer.append(delta.text)
                sys.stdout.write(delta.text)
                sys.stdout.flush()
        finally:
            stream.cancel()
            sys.stdout.write("\n")
            sys.stdout.flush()
            self._turns.append({"role": "assistant", "content": "".join(answer)})

    def _prompt(self) -> tuple[int, ...]:
        """The conversation as tokens, without its oldest turns where it would not leave room for an answer."""
        room = self._base.max_context_tokens - self._sampling.max_tokens
        while True:
            prompt = self._base.render_chat([*self._opening, *self._turns])
            if len(prompt) <= room or len(self._turns) == 1:
                return tuple(prompt)
            # A question and its answer go together.
            del self._turns[:2]


def _talk(conversation: Conversation, *, interactive: bool) -> None:
    if interactive:
        sys.stdout.write(f"{QUIT} ends the conversation.\n")
    while True:
        if interactive:
            sys.stdout.write("> ")
            sys.stdout.flush()
        try:
            line = sys.stdin.readline()
            text = line.strip()
            if not line or text in _LEAVING:
                break
            if text:
                conversation.say(text)
        except KeyboardInterrupt:
            # Once stops an answer; at the prompt it leaves.
            if not interactive or not text:
                raise
            text = ""
    if interactive:
        sys.stdout.write("\n")


def _engine(settings: Settings, adapter: Adapter | None) -> tuple[BaseModel, Engine]:
    paths = checkpoints.find(settings.checkpoint, root=settings.checkpoints)
    base = BaseModel.load(paths.base, name=paths.base_name, device=settings.device)
    engine = InProcessEngine(
        base,
        slots=2,
        max_rank=adapter.rank if adapter is not None else 1,
        target_modules=adapter.target_modules if adapter is not None else (),
        max_batch_rows=1,
    )
    if adapter is not None:
        engine.put(adapter)
    return base, engine
