"""What can be said of the files in `deploy/` without a container engine; each check has a twin that it finds."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from hypernet.settings import PREFIX, Settings
from hypernet.storage.tenant_policy import Place

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
README = (DEPLOY / "README.md").read_text(encoding="utf-8")
KNOWN = {PREFIX + name.upper() for name in Settings.model_fields}
SECRET_WORDS = ("SECRET", "PASSWORD", "ACCESS_KEY", "ROOT_KEYS", "API_KEYS", "ROOT_USER", "TOKEN")


def services(text: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(text)["services"]
    return found


def unknown_settings(text: str) -> list[str]:
    """Names that would stop the start of the service."""
    return sorted(set(re.findall(rf"\b{PREFIX}[A-Z0-9_]*[A-Z0-9]", text)) - KNOWN)


def literal_secrets(text: str) -> list[str]:
    """Secrets that are not files: variables that hold one, and declarations without a file."""
    found = [
        name
        for service in services(text).values()
        for name in service.get("environment", {})
        if any(word in name for word in SECRET_WORDS) and not name.endswith("_FILE")
    ]
    declared = yaml.safe_load(text)["secrets"]
    found += [name for name, secret in declared.items() if set(secret) != {"file"}]
    return found + [
        name for service in services(text).values() for name in service.get("secrets", []) if name not in declared
    ]


def open_ports(text: str) -> list[str]:
    """Ports that others than this machine reach."""
    return [
        str(port)
        for service in services(text).values()
        for port in service.get("ports", [])
        if not re.fullmatch(r"127\.0\.0\.1:[0-9]+:[0-9]+", str(port))
    ] + [name for name, service in services(text).items() if service.get("network_mode") == "host"]


def loose_images(text: str) -> list[str]:
    """Images whose tag does not name one release."""
    return [
        service["image"]
        for service in services(text).values()
        if not re.search(r":(RELEASE\.[0-9TZ-]{20}|[0-9]+\.[0-9]+\.[0-9]+[a-z0-9.-]*)\Z", service["image"])
    ]


def unconfined(text: str) -> list[str]:
    """Services that are root, or may write to their root file system, or gain what they were not given."""
    return [
        name
        for name, service in services(text).items()
        if not service.get("user", "").startswith("${RUN_AS:?")
        or service.get("read_only") is not True
        or service.get("cap_drop") != ["ALL"]
        or service.get("security_opt") != ["no-new-privileges:true"]
        or service.get("privileged")
    ]


@pytest.mark.parametrize(
    ("check", "sound", "flawed"),
    [
        (unknown_settings, "HYPERNET_STORE_URL", "HYPERNET_STORE_UURL"),
        (unknown_settings, "HYPERNET_ROOT_KEYS_FILE", "HYPERNET_ROOTKEYS_FILE"),
        (literal_secrets, "HYPERNET_HOST: 0.0.0.0", "HYPERNET_S3_SECRET_KEY: s3cr3t"),
        (literal_secrets, "file: ./secrets/s3-secret-key", "environment: S3_SECRET_KEY"),
        (literal_secrets, "secrets: [minio_root_user, minio_root_password]", "secrets: [minio_root]"),
        (open_ports, "127.0.0.1:8000:8000", "8000:8000"),
        (open_ports, "127.0.0.1:8000:8000", "0.0.0.0:8000:8000"),
        (loose_images, "minio/minio:RELEASE.2025-09-07T16-13-09Z", "minio/minio:latest"),
        (loose_images, "minio/minio:RELEASE.2025-09-07T16-13-09Z", "minio/minio"),
        (loose_images, "hypernet:0.1.0", "hypernet:edge"),
        (unconfined, "read_only: true", "read_only: false"),
        (unconfined, 'user: "${RUN_AS:', 'user: "${ROOT:'),
    ],
)
def test_deploy_compose_file_is_sound_and_a_flaw_in_it_is_found(
    check: Callable[[str], list[str]], sound: str, flawed: str
):
    assert check(COMPOSE) == []
    assert sound in COMPOSE
    assert check(COMPOSE.replace(sound, flawed)) != []


@pytest.mark.parametrize("name", ["Dockerfile", "README.md", "entrypoint.sh", "make-buckets.sh"])
def test_deploy_names_no_setting_that_there_is_not(name):
    # In the script one name is put together from two parts.
    assert unknown_settings((DEPLOY / name).read_text(encoding="utf-8").replace(f"{PREFIX}$name", "")) == []


def test_deploy_image_is_built_from_a_pinned_one_and_ends_as_nobody():
    lines = DOCKERFILE.splitlines()
    bases = [line.split()[1] for line in lines if line.startswith("FROM ")]

    assert bases
    assert all(re.fullmatch(r"python:3\.11\.[0-9]+-slim-[a-z]+", base) for base in bases)
    assert re.search(r"uv==[0-9.]+", DOCKERFILE)
    assert [line for line in lines if line.startswith("USER ")][-1] == "USER 10001:10001"
    assert "/health/ready" in DOCKERFILE
    assert json.loads(next(line for line in lines if line.startswith("CMD "))[4:]) == ["hypernet", "serve"]


def test_deploy_image_is_made_of_files_that_are_there_and_of_no_others():
    allowed = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"}
    copied = {
        source
        for line in DOCKERFILE.splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    }

    assert copied == allowed
    assert all((DEPLOY.parent / source).exists() for source in copied)
    assert (DEPLOY / ".gitignore").read_text().split() == [".env", "data/", "secrets/"]


def test_deploy_buckets_are_those_of_the_settings_and_of_the_services_policy():
    environment = services(COMPOSE)["hypernet"]["environment"]
    buckets = [Place.of(environment[name]).bucket for name in ("HYPERNET_STORE_URL", "HYPERNET_KEYS_URL")]
    policy = json.loads((DEPLOY / "service-policy.json").read_text())
    resources = {resource for statement in policy["Statement"] for resource in statement["Resource"]}

    assert f"mb --quiet --ignore-existing {' '.join(f'store/{name}' for name in buckets)}" in (
        DEPLOY / "make-buckets.sh"
    ).read_text(encoding="utf-8")
    assert resources == {f"arn:aws:s3:::{name}{end}" for name in buckets for end in ("", "/*")}
    assert environment["HYPERNET_S3_ENDPOINT"] == "http://minio:9000"


def test_deploy_files_that_a_service_asks_for_are_given_to_it():
    given = services(COMPOSE)["hypernet"]
    asked = {value for name, value in given["environment"].items() if name.endswith("_FILE")}

    assert asked == {f"/run/secrets/{name}" for name in ("hypernet_root_keys", "hypernet_api_keys")}
    assert {Path(path).name for path in asked} <= set(given["secrets"])
    read = set(re.findall(r"(?:secret |/run/secrets/)([a-z0-9_]+)", (DEPLOY / "make-buckets.sh").read_text()))
    assert read == set(services(COMPOSE)["buckets"]["secrets"])
    for source in (volume.split(":")[0] for volume in services(COMPOSE)["buckets"]["volumes"]):
        assert (DEPLOY / source).is_file()


def test_deploy_page_makes_every_secret_file_that_is_declared():
    for secret in yaml.safe_load(COMPOSE)["secrets"].values():
        name = secret["file"].removeprefix("./secrets/")
        assert f"deploy/secrets/{name}" in README or f"/keys/{name}" in README


def test_deploy_entry_gives_secrets_from_files_to_the_command_it_runs(tmp_path):
    (tmp_path / "hypernet_s3_access_key").write_text("access")
    (tmp_path / "hypernet_s3_secret_key").write_text("two words = 'quoted' $HOME\n")
    command = ["sh", str(DEPLOY / "entrypoint.sh"), "env", "-0"]
    printed = subprocess.run(
        command, env={"PATH": "/usr/bin:/bin", "SECRETS_DIR": str(tmp_path)}, capture_output=True, text=True, check=True
    ).stdout
    variables = dict(line.split("=", 1) for line in printed.split("\0") if line)

    assert variables["HYPERNET_S3_ACCESS_KEY"] == "access"
    assert variables["HYPERNET_S3_SECRET_KEY"] == "two words = 'quoted' $HOME"
    assert {name for name in variables if name.startswith(PREFIX)} <= KNOWN
    # Without files it sets nothing, and ends as the command does.
    empty = {"PATH": "/usr/bin:/bin", "SECRETS_DIR": str(tmp_path / "nowhere")}
    printed = subprocess.run([*command[:2], "env"], env=empty, capture_output=True, text=True, check=True).stdout
    assert PREFIX not in printed
    assert subprocess.run([*command[:2], "false"], env=empty, check=False).returncode == 1


@pytest.mark.parametrize("name", ["entrypoint.sh", "make-buckets.sh"])
def test_deploy_scripts_are_sound_shell(name):
    subprocess.run(["sh", "-n", str(DEPLOY / name)], check=True)  # noqa: S607


def test_deploy_page_has_only_commands_that_a_shell_reads():
    blocks = re.findall(r"^```\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)

    assert len(blocks) >= 4
    for block in blocks:
        subprocess.run(["sh", "-n"], input=block, text=True, check=True)  # noqa: S607


def test_deploy_compose_file_is_read_by_compose_itself(tmp_path):
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("needs Docker's Compose plugin")
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path), "RUN_AS": "1000:1000"}
    command = [docker, "compose", "-f", str(DEPLOY / "compose.yaml"), "config", "--quiet"]
    subprocess.run(command, env=environment, check=True)
