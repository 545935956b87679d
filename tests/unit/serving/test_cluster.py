import socket

import pytest

from hypernet.errors import CheckpointMismatch, HypernetError, PortInUse, SettingsError
from hypernet.settings import read_settings
from serving.cluster import LocalCluster, bound_port
from serving.run_folder import read_failure, write_failure


def test_port_that_is_taken_is_said_with_what_to_do():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse, match=rf"{port}.*--port"):
            bound_port("127.0.0.1", port)


def test_port_0_is_a_free_one():
    port = bound_port("127.0.0.1", 0)

    assert port > 0
    assert bound_port("127.0.0.1", port) == port


@pytest.mark.parametrize("host", ["203.0.113.7", "no such host"])
def test_address_that_is_not_this_machines_is_said(host):
    with pytest.raises(SettingsError, match=host):
        bound_port(host, 0)


def test_failure_of_a_replica_reaches_who_started_it(tmp_path):
    assert read_failure(tmp_path) is None

    write_failure(tmp_path, CheckpointMismatch("two that do not belong together"))
    error = read_failure(tmp_path)

    assert isinstance(error, CheckpointMismatch)
    assert error.message == "two that do not belong together"


@pytest.mark.parametrize("content", ["", "{", '{"type": "Nobody", "message": "x"}', "[]"])
def test_failure_report_that_cannot_be_read_is_none(tmp_path, content):
    (tmp_path / "failure.json").write_text(content)

    assert read_failure(tmp_path) is None


def test_cluster_shows_only_new_lines_of_the_log(tmp_path):
    cluster = LocalCluster(read_settings())
    cluster.folder = tmp_path
    shown = [cluster.new_log_lines()]
    for text in ("one\n", "two\n"):
        with (tmp_path / "service.log").open("a") as file:
            file.write(text)
        shown.append(cluster.new_log_lines())

    assert [*shown, cluster.new_log_lines()] == ["", "one\n", "two\n", ""]


def test_cluster_refuses_to_start_once_ray_is_imported(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", object())

    with pytest.raises(HypernetError, match="imported before"):
        LocalCluster(read_settings()).start()
