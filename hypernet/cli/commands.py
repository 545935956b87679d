"""The program's own commands: their options and help. The work, and everything slow to import, is in their modules."""

from pathlib import Path
from typing import Annotated

import typer

from hypernet.cli.output import working

Checkpoint = Annotated[
    str | None, typer.Option(help="Checkpoint to use.", show_default="HYPERNET_CHECKPOINT, else tiny")
]
StoreDir = Annotated[
    Path | None,
    typer.Option(help="Folder of the adapter store.", show_default="HYPERNET_STORE_DIR, else ~/.local/share/hypernet"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
User = Annotated[str, typer.Argument(help="The user whose adapter it is.")]
Version = Annotated[int | None, typer.Option(min=1, help="Version of the adapter.", show_default="the active one")]

adapters = typer.Typer(name="adapters", help="List, show, export and erase stored adapters.", no_args_is_help=True)
store = typer.Typer(name="store", help="Look after the store: keys, leftovers, audit log.", no_args_is_help=True)


def generate(
    documents: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Text or Markdown files about one person; - reads standard input."),
    ],
    user: Annotated[str | None, typer.Option(help="Store the adapter for this user.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the adapter in PEFT format: a folder, or a file name ending in .zip.")
    ] = None,
    strength: Annotated[
        float | None,
        typer.Option(
            min=0, max=2, help="1 acts as trained, 0 is the base model.", show_default="what the checkpoint says"
        ),
    ] = None,
    checkpoint: Checkpoint = None,
    store_dir: StoreDir = None,
    as_json: Json = False,
) -> None:
    """Make an adapter from a document about someone, or from several."""
    with working("loading"):
        from hypernet.cli.generating import generate_adapter
    from hypernet.settings import read_settings

    settings = read_settings(checkpoint=checkpoint, store_dir=store_dir)
    generate_adapter(settings, documents, user=user, out=out, strength=strength, as_json=as_json)


def chat(
    user: Annotated[str | None, typer.Option(help="Whose adapter to talk with.", show_default="the base model")] = None,
    version: Version = None,
    system: Annotated[str | None, typer.Option(help="Text of a system message before the conversation.")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 128,
    temperature: Annotated[float, typer.Option(min=0, max=2, help="0 always takes the likeliest token.")] = 0.0,
    checkpoint: Checkpoint = None,
    store_dir: StoreDir = None,
) -> None:
    """Talk with the model as a user's adapter makes it. /quit ends; with piped input, each line is one turn."""
    with working("loading"):
        from hypernet.cli.chatting import talk
    from hypernet.settings import read_settings

    settings = read_settings(checkpoint=checkpoint, store_dir=store_dir)
    talk(settings, user=user, version=version, system=system, max_tokens=max_tokens, temperature=temperature)


def doctor(
    store_dir: StoreDir = None,
    store: Annotated[
        str | None, typer.Option(metavar="URL", help="Try this store: s3://BUCKET or s3://BUCKET/PREFIX.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what is installed, which checkpoints are found, whether they match, and whether a bucket can hold a store.
    Exits 1 if something is wrong.
    """
    from hypernet.cli.examining import report
    from hypernet.settings import read_settings

    if not report(read_settings(store_dir=store_dir, store_url=store), as_json=as_json):
        raise typer.Exit(1)


@adapters.command("list")
def list_adapters(store_dir: StoreDir = None, as_json: Json = False) -> None:
    """List users and their active adapters."""
    from hypernet.cli.stored import list_stored
    from hypernet.settings import read_settings

    list_stored(read_settings(store_dir=store_dir), as_json=as_json)


@adapters.command("show")
def show_adapter(user: User, store_dir: StoreDir = None, as_json: Json = False) -> None:
    """Describe a user's adapter and its versions."""
    from hypernet.cli.stored import show_stored
    from hypernet.settings import read_settings

    show_stored(read_settings(store_dir=store_dir), user, as_json=as_json)


@adapters.command("export")
def export_adapter(
    user: User,
    out: Annotated[Path, typer.Option(help="Folder to write in PEFT format, or a file name ending in .zip.")],
    version: Version = None,
    store_dir: StoreDir = None,
    as_json: Json = False,
) -> None:
    """Write a user's adapter as a PEFT folder or zip archive, which `PeftModel.from_pretrained` and vLLM load."""
    from hypernet.cli.stored import export_stored
    from hypernet.settings import read_settings

    export_stored(read_settings(store_dir=store_dir), user, out, version=version, as_json=as_json)


@adapters.command("erase")
def erase_adapter(
    user: User,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    receipt: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the receipt there.")] = None,
    store_dir: StoreDir = None,
    as_json: Json = False,
) -> None:
    """Erase a user's adapter with all its versions and their key, for good, with a receipt."""
    from hypernet.cli.stored import erase_stored
    from hypernet.settings import read_settings

    def confirm(count: int) -> None:
        if not yes:
            what = f"{count} version{'s' if count > 1 else ''}" if count else "what can no longer be read"
            typer.confirm(f"Erase {what} for good?", abort=True, err=True)

    erase_stored(read_settings(store_dir=store_dir), user, confirm=confirm, receipt=receipt, as_json=as_json)


@store.command("keygen")
def make_keys(
    file: Annotated[Path, typer.Argument(help="File to write; only you may read it.")], as_json: Json = False
) -> None:
    """Write a file with a new root key, for HYPERNET_ROOT_KEYS_FILE."""
    from hypernet.cli.keeping import write_keys

    write_keys(file, as_json=as_json)


@store.command("sweep")
def sweep_store(store_dir: StoreDir = None, as_json: Json = False) -> None:
    """Remove what writers that died have left: objects and keys that nothing refers to. Safe beside live writers."""
    from hypernet.cli.keeping import sweep
    from hypernet.settings import read_settings

    sweep(read_settings(store_dir=store_dir), as_json=as_json)


@store.command("rotate")
def rotate_keys(store_dir: StoreDir = None, as_json: Json = False) -> None:
    """Wrap the tenant's keys by the current root key and its users' keys by a new one; adapters are not written."""
    from hypernet.cli.keeping import rotate
    from hypernet.settings import read_settings

    rotate(read_settings(store_dir=store_dir), as_json=as_json)


@store.command("audit")
def print_audit(
    user: Annotated[str | None, typer.Option(help="Only what was done to this user's adapter.")] = None,
    store_dir: StoreDir = None,
) -> None:
    """Print the audit log, one line of JSON for each change, with its signatures."""
    from hypernet.cli.auditing import print_log
    from hypernet.settings import read_settings

    print_log(read_settings(store_dir=store_dir), user=user)


@store.command("verify-audit")
def verify_audit(
    anchor: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where the ends of the log were at the last check: nothing up to there may be missing. Written anew.",
        ),
    ] = None,
    store_dir: StoreDir = None,
    as_json: Json = False,
) -> None:
    """Check that no line of the audit log was removed, changed or moved, and that it knows of every change in the
    store. Exits 1 if not.
    """
    from hypernet.cli.auditing import verify_log
    from hypernet.settings import read_settings

    if not verify_log(read_settings(store_dir=store_dir), anchor=anchor, as_json=as_json):
        raise typer.Exit(1)


@store.command("verify-receipt")
def verify_receipt(
    file: Annotated[Path, typer.Argument(help="A receipt, as an erasure gave it.")],
    key: Annotated[
        str | None, typer.Option(help="The public key that it has to be signed for, as `verify-audit` prints it.")
    ] = None,
    log: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A copy of the audit log, which has to hold it: `store audit`.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check the receipt of an erasure, without the store. Exits 1 if it is not sound."""
    from hypernet.cli.auditing import verify_receipt_file

    if not verify_receipt_file(file, public_key=key, log=log, as_json=as_json):
        raise typer.Exit(1)


@store.command("policy")
def show_policy(
    tenant: Annotated[str | None, typer.Option(help="Whose.", show_default="HYPERNET_TENANT, else local")] = None,
    principal: Annotated[
        str | None,
        typer.Option(metavar="ARN", help="Print policies of the buckets instead, for this user of the server."),
    ] = None,
) -> None:
    """Print the policy of a credential that reaches one tenant's objects in the buckets and nothing else."""
    from hypernet.cli.policies import print_policy
    from hypernet.settings import read_settings

    print_policy(read_settings(), tenant=tenant, principal=principal)
