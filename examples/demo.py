"""The main job from end to end: two profiles become two adapters, and the same model answers as two people.

Starts the service, sends both profiles over REST, asks the base model and both users the same questions, prints the
answers beside what the profiles say, and stops the service. Exits 1 if an adapter changed nothing.

    python examples/demo.py
"""

import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.markup import escape
from rich.table import Table

PROFILES = Path(__file__).parent / "profiles"
USERS = ("ada", "bruno")
START_TIMEOUT_S = 180
STOP_TIMEOUT_S = 20

# A pipe has no width of its own, and the table wants some.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)


@dataclass(frozen=True, kw_only=True)
class Question:
    """What everybody is asked, and what each profile says about it."""

    text: str
    truth: dict[str, str | None]
    """By user; None where the profile says nothing, because the question is about the world."""


def main() -> int:
    """Runs the demo; 0 if both adapters changed what the model says."""
    # Ended from outside, the demo still stops what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    questions = [
        Question(text=entry.pop("question"), truth=entry)
        for entry in json.loads((PROFILES / "questions.json").read_text(encoding="utf-8"))
    ]
    with running_service() as (url, model, key):
        client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60)
        with client, working("sending two profiles, asking everybody the same questions"):
            written = {user: put_profile(client, user) for user in USERS}
            base = [ask(client, model, question.text) for question in questions]
            answers = {
                user: [ask(client, f"{model}:{user}", question.text) for question in questions] for user in USERS
            }
            first_token_ms = {user: time_to_first_token(client, f"{model}:{user}", questions[0].text) for user in USERS}
    show_answers(questions, base, answers)
    show_timings(written, first_token_ms)
    unchanged = [user for user in USERS if answers[user] == base]
    if unchanged or answers[USERS[0]] == answers[USERS[1]]:
        console.print("[bold red]An adapter did not change the answers.[/]")
        return 1
    return 0


@contextlib.contextmanager
def working(text: str) -> Iterator[None]:
    """Says what is being done while it is: a spinner in a terminal, a line elsewhere."""
    if console.is_terminal:
        with console.status(text):
            yield
    else:
        console.print(text)
        yield


@contextlib.contextmanager
def running_service() -> Iterator[tuple[str, str, str]]:
    """The service on a free port over an empty store: its address, base model and key. Stopped at the end."""
    key = secrets.token_urlsafe(24)
    with tempfile.TemporaryDirectory(prefix="hypernet-demo-") as folder:
        environment = os.environ | {"HYPERNET_API_KEYS": json.dumps({key: "demo"}), "HYPERNET_STORE_DIR": folder}
        command = [sys.executable, "-m", "hypernet", "serve", "--port", "0", "--json"]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)  # noqa: S603
        try:
            with working("starting the service: Ray and the model, some 20 seconds"):
                ready = wait_until_ready(process)
            yield ready["url"], ready["model"], key
        finally:
            with working("stopping what was started"):
                stop(process)


def wait_until_ready(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """The line of JSON that the service prints once it answers; `SystemExit` if it ends before."""
    # Ends a start that hangs; reading a pipe has no time limit of its own.
    timer = signal.signal(signal.SIGALRM, lambda *_: process.kill())
    signal.alarm(START_TIMEOUT_S)
    try:
        line = process.stdout.readline() if process.stdout else ""
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, timer)
    if not line:
        sys.exit("the service did not start; its message is above")
    ready: dict[str, Any] = json.loads(line)
    return ready


def stop(process: "subprocess.Popen[str]") -> None:
    """Ends the service in order, and by force only if that takes too long."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def put_profile(client: httpx.Client, user: str) -> dict[str, Any]:
    """Makes the user's adapter from their profile; the service's answer, with the time the whole call took."""
    document = (PROFILES / f"{user}.md").read_bytes()
    start = time.perf_counter()
    response = client.put(f"/v1/users/{user}/adapter", content=document, headers={"Content-Type": "text/markdown"})
    round_trip_ms = (time.perf_counter() - start) * 1e3
    check(response)
    return {**response.json(), "round_trip_ms": round_trip_ms}


def ask(client: httpx.Client, model: str, question: str) -> str:
    """The model's answer to one question, with nothing else in the conversation."""
    response = client.post("/v1/chat/completions", json=conversation(model, question))
    check(response)
    return str(response.json()["choices"][0]["message"]["content"])


def time_to_first_token(client: httpx.Client, model: str, question: str) -> float:
    """Milliseconds from sending the request to the first text of the answer."""
    start = time.perf_counter()
    with client.stream("POST", "/v1/chat/completions", json=conversation(model, question) | {"stream": True}) as events:
        for line in events.iter_lines():
            if line.startswith("data: {") and json.loads(line[6:])["choices"][0]["delta"].get("content"):
                return (time.perf_counter() - start) * 1e3
    return float("nan")


def conversation(model: str, question: str) -> dict[str, Any]:
    """A chat request of one question."""
    return {"model": model, "messages": [{"role": "user", "content": question}], "max_tokens": 48}


def check(response: httpx.Response) -> None:
    """`SystemExit` with the service's own message if a request failed."""
    if response.is_error:
        sys.exit(f"{response.request.method} {response.request.url.path}: {response.status_code} {response.text}")


def show_answers(questions: Sequence[Question], base: Sequence[str], answers: dict[str, list[str]]) -> None:
    """One table: question, base model alone, each user, and what the profiles say; answers that hold it are green."""
    table = Table("question", "base model alone", *(f"{user}'s adapter" for user in USERS), "what the profile says")
    asked = [question for question in questions if any(question.truth.values())]
    right = dict.fromkeys(USERS, 0)
    for number, question in enumerate(questions):
        cells = []
        for user in USERS:
            answer, truth = answers[user][number], question.truth[user]
            # Whole words: a town that is nearly right is not right.
            correct = truth is not None and re.search(rf"\b{re.escape(truth)}\b", answer, re.IGNORECASE) is not None
            right[user] += correct
            cells.append(f"[green]{escape(answer)}[/]" if correct else escape(answer))
        says = (
            "\n".join(f"{user}: {escape(truth)}" for user, truth in question.truth.items() if truth)
            or "[dim]nothing[/]"
        )
        table.add_row(question.text, escape(base[number]), *cells, says, end_section=True)
    console.print(table)
    counts = ", ".join(f"{user} {right[user]} of {len(asked)}" for user in USERS)
    console.print(f"answers that hold what the profile says: {counts}\n")


def show_timings(written: dict[str, dict[str, Any]], first_token_ms: dict[str, float]) -> None:
    """Where the time went, from profile to adapter and from question to first token."""
    table = Table("milliseconds", *(f"{user}, {written[user]['document_tokens']} tokens" for user in USERS))
    for stage in ("encode", "generate", "serialise", "store"):
        table.add_row(stage, *(f"{written[user]['timings_ms'][stage]:.1f}" for user in USERS))
    table.add_row("profile to stored adapter, over REST", *(f"{written[user]['round_trip_ms']:.1f}" for user in USERS))
    table.add_row("request to first token, over REST", *(f"{first_token_ms[user]:.1f}" for user in USERS))
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
