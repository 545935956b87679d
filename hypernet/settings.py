"""Every setting of the service and the command line, in one class that is read once."""

import os
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from hypernet.errors import SettingsError

PREFIX = "HYPERNET_"
_OF_TESTS = "HYPERNET_TEST_"


def default_store_dir() -> Path:
    """`hypernet/` in the user's data folder: `$XDG_DATA_HOME`, else `~/.local/share`."""
    data_home = os.environ.get("XDG_DATA_HOME")
    return (Path(data_home) if data_home else Path.home() / ".local" / "share") / "hypernet"


def usable_cores() -> int:
    """CPU cores that this process may use."""
    # Where the platform can say which those are; elsewhere it is all of them.
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


class Settings(BaseSettings):
    """The settings, from `HYPERNET_*` variables, then a YAML file, then the defaults here; the first one wins.

    Read them with `read_settings`, which refuses an unknown variable or key by name and never repeats a value in an
    error, because a value may be a secret.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        # An empty variable is how a compose file or a Makefile writes "not set".
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )

    checkpoint: str = "tiny"
    """Name of the checkpoint to load, as in `tiny`, or `tiny/mlp` for another architecture than the default one; what
    stands before the slash is the served name of its base model."""

    checkpoints: Path | None = None
    """Folder that holds the checkpoints; by default `checkpoints/` next to the package."""

    store_dir: Path = Field(default_factory=default_store_dir)
    """Folder of the directory store, where adapters are kept unless `store_url` says otherwise."""

    store_url: str | None = None
    """Bucket of an S3 server where adapters are kept instead: `s3://bucket` or `s3://bucket/prefix`."""

    keys_url: str | None = None
    """Bucket where the users' wrapped keys are kept, apart from the adapters; by default `-keys` behind the bucket of
    `store_url`."""

    s3_endpoint: str | None = None
    """Address of the S3 server: `https://host` or `http://host:port`."""

    s3_access_key: SecretStr | None = None
    """Access key of the S3 server."""

    s3_secret_key: SecretStr | None = None
    """Secret key of the S3 server."""

    s3_region: str | None = None
    """Region of the buckets, where the server has any."""

    store_timeout_s: float = Field(default=10.0, gt=0)
    """Longest that one call to an S3 server takes, retries included, in seconds."""

    store_cache_bytes: int = Field(default=64 << 20, ge=0)
    """Adapters of a store in a bucket that a process keeps in memory, sealed, in bytes."""

    root_keys: SecretStr | None = None
    """Root keys as JSON, the current one first, as `hypernet store keygen` writes them; or give the file."""

    root_keys_file: Path | None = None
    """File with the same JSON, which nobody else may read; by default one in the folder of a directory store, made when
    that is first used."""

    keep_versions: int | None = Field(default=None, ge=1)
    """Versions of each adapter that are kept, newest first; all of them by default."""

    keep_days: float | None = Field(default=None, ge=0, le=36_500)
    """Age in days up to which a version is kept even if it is not among `keep_versions`."""

    data_dir: Path | None = None
    """Folder of training data; read by the recipes in `training/`, by nothing else."""

    tenant: str = "local"
    """Tenant of the command line and of the key that `hypernet serve` makes when none is configured."""

    api_keys: SecretStr | None = None
    """API keys as one JSON object, key to tenant: `{"a-long-secret": "acme"}`."""

    api_keys_file: Path | None = None
    """File with the same JSON object; read once at the start. Give this or `api_keys`, not both."""

    host: str = "127.0.0.1"
    """Address to listen on; `0.0.0.0` for every interface."""

    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on; 0 takes a free one and prints it."""

    architectures: str = ""
    """Modules that register architectures of the operator's own, names separated by commas."""

    max_document_tokens: int | None = Field(default=None, ge=1)
    """Longest document that is read, in tokens, or most of several that make one adapter; by default what the
    checkpoint's manifest says."""

    device: str = "cpu"
    """torch device of the base model and the hypernetwork: `cpu`, `cuda`, `cuda:1`."""

    threads: int = Field(default=0, ge=0)
    """CPU threads that torch uses in one replica; 0 = one per core."""

    replicas: int = Field(default=1, ge=1, le=64)
    """Replicas of the service, each with its own base model in memory; they share the store."""

    slots: int = Field(default=64, ge=2)
    """Adapters that one replica keeps ready beside the base model, in slots."""

    max_batch_rows: int = Field(default=32, ge=1)
    """Rows that one decode step computes at once, each for one answer."""

    max_body_bytes: int = Field(default=1 << 20, ge=1 << 10)
    """Largest request body that is read, in bytes; a larger one is refused before it is read."""

    max_ongoing_requests: int = Field(default=256, ge=1)
    """Requests that one replica works on at a time; further ones queue."""

    max_queued_requests: int = Field(default=1024, ge=1)
    """Requests that may queue before further ones are refused."""

    ingress: Literal["proxy", "haproxy"] = "proxy"
    """Who takes HTTP connections: Ray Serve's own proxy, or HAProxy in front of the replicas (faster; Linux only)."""

    object_store_bytes: int = Field(default=100 << 20, ge=80 << 20)
    """Shared memory that Ray may use for its object store, in bytes; requests do not pass through it."""

    shutdown_timeout_s: float = Field(default=5.0, gt=0)
    """Seconds that answers in progress are given to end when the service stops."""

    @field_validator("store_dir", "checkpoints", "data_dir", "api_keys_file", "root_keys_file", mode="after")
    @classmethod
    def _expand_home(cls, path: Path | None) -> Path | None:
        return path.expanduser() if path is not None else None


def read_settings(*, file: Path | None = None, **overrides: Any) -> Settings:
    """The settings in force: `overrides` that are not None, then `HYPERNET_*` variables, then `file`, then defaults.

    Raises `SettingsError` naming the variable or key that is unknown or out of range, never its value.
    """
    known = {PREFIX + name.upper(): name for name in Settings.model_fields}
    unknown = sorted(name for name in os.environ if _is_ours(name) and name not in known)
    if unknown:
        raise SettingsError(
            f"Unknown environment variable{'s' if len(unknown) > 1 else ''} {', '.join(unknown)}. "
            f"Known: {', '.join(sorted(known))}. Unset it or correct its name."
        )
    values = _read_file(file) if file is not None else {}
    values = {name: value for name, value in values.items() if not os.environ.get(PREFIX + name.upper())}
    values |= {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**values)
    except ValidationError as error:
        problems = "; ".join(
            f"{_variable(problem['loc'])}: {problem['msg']}"
            for problem in error.errors(include_input=False, include_context=False)
        )
        # `from None`: the original repeats the value, which may be a secret.
        raise SettingsError(f"Settings out of range. {problems}.") from None


def _is_ours(name: str) -> bool:
    return name.upper().startswith(PREFIX) and not name.startswith(_OF_TESTS)


def _variable(location: tuple[int | str, ...]) -> str:
    name = str(location[0]) if location else ""
    return name.upper() if name.upper().startswith(PREFIX) else PREFIX + name.upper()


def _read_file(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"Cannot read the settings file {file}: {type(error).__name__}.") from error
    except yaml.YAMLError:
        raise SettingsError(f"The settings file {file} is not YAML.") from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise SettingsError(f"The settings file {file} must hold one mapping of names to values.")
    unknown = sorted(set(content) - set(Settings.model_fields))
    if unknown:
        raise SettingsError(
            f"Unknown settings {', '.join(unknown)} in {file}. Known: {', '.join(sorted(Settings.model_fields))}."
        )
    return content
