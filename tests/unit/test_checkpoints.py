from pathlib import Path

import pytest

from hypernet import checkpoints
from hypernet.errors import CheckpointNotFound


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, parts in (("tiny", ("base", "perceiver")), ("half", ("base",)), (".hidden", ("base", "perceiver"))):
        for part in parts:
            (tmp_path / name / part).mkdir(parents=True)
    return tmp_path


def test_find_gives_both_folders(root):
    paths = checkpoints.find("tiny", root=root)

    assert (paths.name, paths.base_name) == ("tiny", "tiny")
    assert (paths.base, paths.hypernetwork) == (root / "tiny" / "base", root / "tiny" / "perceiver")


def test_find_gives_another_architecture_by_its_folder(root):
    (root / "tiny" / "mlp").mkdir()
    paths = checkpoints.find("tiny/mlp", root=root)

    assert (paths.name, paths.base_name, paths.hypernetwork) == ("tiny/mlp", "tiny", root / "tiny" / "mlp")
    assert checkpoints.find("tiny/perceiver", root=root) == checkpoints.find("tiny", root=root)
    assert checkpoints.available(root=root) == ["tiny", "tiny/mlp"]


@pytest.mark.parametrize("name", ["none", "half", "tiny/none"])
def test_find_names_the_folder_it_looked_in_and_what_is_there(root, name):
    with pytest.raises(CheckpointNotFound) as caught:
        checkpoints.find(name, root=root)

    assert str(root) in caught.value.message
    assert "checkpoints there: tiny." in caught.value.message


@pytest.mark.parametrize(
    "name",
    [
        "../tiny",
        "",
        ".",
        "..",
        "tiny/base",
        "tiny/",
        "/tiny",
        "tiny/../tiny",
        "tiny/mlp/x",
        "tiny/.x",
        ".hidden",
        "a:b",
        "x" * 65,
        "tiny\n",
    ],
)
def test_find_refuses_what_is_no_name(root, name):
    with pytest.raises(CheckpointNotFound, match="checkpoint name"):
        checkpoints.find(name, root=root)


def test_available_lists_whole_checkpoints_only(root):
    assert checkpoints.available(root=root) == ["tiny"]
    assert checkpoints.available(root=root / "missing") == []


def test_root_is_the_variable_where_it_is_set(monkeypatch, tmp_path):
    monkeypatch.setenv(checkpoints.ROOT_VARIABLE, str(tmp_path))
    assert checkpoints.checkpoints_root() == tmp_path

    monkeypatch.delenv(checkpoints.ROOT_VARIABLE)
    assert checkpoints.checkpoints_root() == Path(checkpoints.__file__).parents[1] / "checkpoints"
