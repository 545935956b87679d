"""What every storage of objects promises, run against each of them, and against some with a defect."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hypernet.errors import ObjectChanged, StoreUnavailable
from hypernet.storage.directory import DirectoryObjects
from hypernet.storage.memory import MemoryObjects
from hypernet.storage.object_storage import ObjectStorage, tag_of
from hypernet.storage.probe import probe, require
from hypernet.storage.s3 import S3Objects


@pytest.fixture(params=["memory", "directory", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStorage]:
    if request.param == "memory":
        made: ObjectStorage = MemoryObjects()
    elif request.param == "directory":
        made = DirectoryObjects(tmp_path / "objects")
    else:
        made = S3Objects(next(request.getfixturevalue("s3_buckets")))
    yield made
    made.close()


def test_object_storage_keeps_every_promise_that_the_probe_tries(objects):
    assert [finding.name for finding in probe(objects) if not finding.kept] == []
    assert (objects.folders(""), objects.names(".probe/")) == ([], {})


def test_object_storage_reads_what_was_written_last(objects):
    assert objects.read("a/b/pointer") is None
    first = objects.swap("a/b/pointer", b"one", expected=None)
    assert (objects.read("a/b/pointer").data, objects.read("a/b/pointer").tag) == (b"one", first)
    second = objects.swap("a/b/pointer", b"two", expected=first)
    assert (objects.read("a/b/pointer").data, objects.read("a/b/pointer").tag) == (b"two", second)
    objects.settle("a/b/pointer")


@pytest.mark.parametrize("size", [0, 1, 100_000, 12_000_000])
def test_object_storage_keeps_objects_of_any_size(objects, size):
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    objects.write("a/object", data)
    assert objects.read("a/object").data == data


def test_object_storage_removes_only_the_state_that_is_expected(objects):
    tag = objects.swap("a/pointer", b"one", expected=None)
    latest = objects.swap("a/pointer", b"two", expected=tag)
    if objects.remove_if("a/pointer", expected=latest):
        assert objects.read("a/pointer") is None
        latest = objects.swap("a/pointer", b"three", expected=None)
        with pytest.raises(ObjectChanged):
            objects.remove_if("a/pointer", expected=tag)
    assert objects.read("a/pointer").tag == latest


def test_object_storage_removes_what_is_not_there(objects):
    objects.remove("a/b/object")
    objects.write("a/b/object", b"data")
    objects.remove("a/b/object")
    objects.remove("a/b/object")
    assert (objects.names("a/"), objects.folders("a/")) == ({}, [])


def test_object_storage_tidies_up_nothing_that_is_there(objects):
    for name in ("a/b/c/object", "a/b2/object", "d/object"):
        objects.write(name, b"data")
    for prefix in ("a/b/", "a/", "d/", "e/f/"):
        objects.tidy(prefix)
    assert list(objects.names("a/")) + list(objects.names("d/")) == ["a/b/c/object", "a/b2/object", "d/object"]


def test_directory_store_tidies_up_empty_folders_and_those_they_are_in(tmp_path):
    objects = DirectoryObjects(tmp_path)
    objects.write("a/left/object", b"data")
    (tmp_path / "a/ada/objects/x").mkdir(parents=True)
    objects.tidy("a/ada/")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["left"]
    (tmp_path / "b/ada").mkdir(parents=True)
    objects.tidy("b/ada/")
    assert not (tmp_path / "b").exists()


def test_object_storage_lists_folders_in_order_and_in_pages(objects):
    segments = ["ada", "ada-x", "ada0", "ada_", "%41da", "b~c", "zz"]
    for segment in segments:
        objects.write(f"t/{segment}/pointer", b"p")
        objects.write(f"t/{segment}/objects/o", b"o")
    objects.write("t/.keys", b"k")
    objects.write("t/.hidden/x", b"h")
    objects.write("t2/eve/pointer", b"p")
    ordered = sorted(segments, key=lambda segment: f"{segment}/")

    assert objects.folders("t/") == ordered
    assert objects.folders("t/", limit=2) == ordered[:2]
    assert objects.folders("t/", after=ordered[1], limit=3) == ordered[2:5]
    assert objects.folders("t/", after="c") == ["zz"]
    assert objects.folders("t/", after="zz") == objects.folders("nobody/") == []
    objects.write("t/ada/objects/long", b"12345")
    sizes = {"t/ada/objects/long": 5, "t/ada/objects/o": 1, "t/ada/pointer": 1}
    assert list(objects.names("t/ada/").items()) == list(sizes.items())
    assert objects.names("t/ada/", limit=2) == {"t/ada/objects/long": 5, "t/ada/objects/o": 1}
    assert objects.names("t/ada/", after="t/ada/objects/long", limit=1) == {"t/ada/objects/o": 1}
    assert objects.names("t/ada/", after="t/ada/pointer") == {}


def test_object_storage_that_is_closed_says_so(objects):
    objects.close()
    for call in (
        lambda: objects.read("a"),
        lambda: objects.write("a", b""),
        lambda: objects.swap("a", b"", expected=None),
        lambda: objects.remove("a"),
        lambda: objects.remove_if("a", expected=""),
        lambda: objects.names("a/"),
        lambda: objects.folders("a/"),
        objects.check,
    ):
        with pytest.raises(StoreUnavailable, match="closed"):
            call()


class WithoutConditions(MemoryObjects):
    """The defect of a server that writes whatever the condition."""

    def swap(self, name: str, data: bytes, *, expected: str | None) -> str:
        self.write(name, data)
        return tag_of(data)


class WithoutAtomicity(MemoryObjects):
    """The defect of a server that looks first and writes then."""

    def swap(self, name: str, data: bytes, *, expected: str | None) -> str:
        import time

        present = self.read(name)
        time.sleep(0.01)
        if (None if present is None else present.tag) != expected:
            raise ObjectChanged("changed")
        self.write(name, data)
        return tag_of(data)


@pytest.mark.parametrize(
    ("objects", "broken"), [(WithoutConditions(), "second creation"), (WithoutAtomicity(), "of many changes at once")]
)
def test_probe_refuses_a_server_that_does_not_keep_its_conditions(objects, broken):
    # The twins of the first test.
    with pytest.raises(StoreUnavailable, match=broken):
        require(objects)
    assert objects.names(".probe/") == {}
