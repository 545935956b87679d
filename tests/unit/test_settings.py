import os
from pathlib import Path

import pytest

from hypernet.errors import SettingsError
from hypernet.settings import Settings, read_settings

SHIPPED = sorted((Path(__file__).parents[2] / "configs" / "serving").glob("*.yaml"))


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith("HYPERNET_")] + ["XDG_DATA_HOME"]:
        monkeypatch.delenv(name, raising=False)


def test_settings_have_defaults_for_everything():
    settings = read_settings()

    assert (settings.checkpoint, settings.host, settings.port) == ("tiny", "127.0.0.1", 8000)
    assert settings.store_dir == Path.home() / ".local" / "share" / "hypernet"


def test_settings_store_follows_the_xdg_data_home(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))

    assert read_settings().store_dir == tmp_path / "hypernet"


def test_settings_options_win_over_variables_over_file_over_defaults(monkeypatch, tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text("port: 1001\nslots: 11\nreplicas: 3\n")
    monkeypatch.setenv("HYPERNET_PORT", "1002")
    monkeypatch.setenv("HYPERNET_SLOTS", "12")

    settings = read_settings(file=file, port=1003, host=None)

    assert (settings.port, settings.slots, settings.replicas, settings.host) == (1003, 12, 3, "127.0.0.1")


def test_settings_unknown_variable_is_refused_by_name_with_the_known_ones(monkeypatch):
    monkeypatch.setenv("HYPERNET_PROT", "8000")

    with pytest.raises(
        SettingsError, match=r"HYPERNET_PROT.*Known: .*HYPERNET_CHECKPOINTS, .*HYPERNET_DATA_DIR, .*PORT"
    ):
        read_settings()


def test_settings_empty_variable_counts_as_not_set(monkeypatch):
    monkeypatch.setenv("HYPERNET_PORT", "")

    assert read_settings().port == 8000


@pytest.mark.parametrize("name", [f"HYPERNET_{field.upper()}" for field in Settings.model_fields])
def test_settings_know_the_variable_of_every_field(monkeypatch, name):
    monkeypatch.setenv(name, "1")

    try:
        read_settings()
    except SettingsError as error:
        assert f"{name}: " in error.message  # noqa: PT017 - either outcome is right, but for "unknown"


def test_settings_out_of_range_names_the_variable_and_not_the_value(monkeypatch):
    monkeypatch.setenv("HYPERNET_PORT", "123456789")

    with pytest.raises(SettingsError, match="HYPERNET_PORT") as caught:
        read_settings()

    assert "123456789" not in caught.value.message
    assert caught.value.__cause__ is None


def test_settings_do_not_show_the_keys(monkeypatch):
    monkeypatch.setenv("HYPERNET_API_KEYS", '{"a-secret-of-16-and-more": "acme"}')

    assert "a-secret-of" not in repr(read_settings())


@pytest.mark.parametrize(
    ("content", "complaint"),
    [("prot: 1\n", "prot"), ("- 1\n", "mapping"), ("a: [\n", "not YAML"), ("1: 2\n", "mapping")],
)
def test_settings_file_is_refused_when_malformed(tmp_path, content, complaint):
    file = tmp_path / "settings.yaml"
    file.write_text(content)

    with pytest.raises(SettingsError, match=complaint):
        read_settings(file=file)


def test_settings_missing_file_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"nowhere\.yaml"):
        read_settings(file=tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("file", SHIPPED, ids=lambda path: path.name)
def test_settings_read_every_shipped_file(file):
    assert read_settings(file=file).checkpoint


def test_settings_files_are_shipped():
    assert SHIPPED


def test_settings_every_field_is_described():
    assert all(field.description for field in Settings.model_fields.values())
