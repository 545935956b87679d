"""What is kept of the most recently used."""

import threading

from hypernet.storage.recent import Recent


def test_least_recently_used_goes_first_and_bytes_are_what_counts():
    kept: Recent[str] = Recent(10)
    for name in "abc":
        kept.put(name, name.upper(), size_bytes=3)
    assert kept.get("a") == "A"
    kept.put("d", "D", size_bytes=4)
    assert [kept.get(name) for name in "abcd"] == ["A", None, "C", "D"]
    kept.put("e", "E", size_bytes=10)
    assert [kept.get(name) for name in "abcde"] == [None, None, None, None, "E"]


def test_value_in_place_of_another_takes_its_room():
    kept: Recent[str] = Recent(10)
    kept.put("a", "old", size_bytes=8)
    kept.put("a", "new", size_bytes=5)
    kept.put("b", "B", size_bytes=5)
    assert (kept.get("a"), kept.get("b")) == ("new", "B")


def test_value_that_is_too_large_is_not_kept_and_nor_is_the_one_before_it():
    kept: Recent[str] = Recent(10)
    kept.put("a", "old", size_bytes=8)
    kept.put("b", "B", size_bytes=2)
    kept.put("a", "new", size_bytes=11)
    assert (kept.get("a"), kept.get("b")) == (None, "B")
    nothing: Recent[str] = Recent(0)
    nothing.put("a", "A", size_bytes=1)
    assert nothing.get("a") is None


def test_removed_value_is_gone_and_so_is_its_size():
    kept: Recent[str] = Recent(10)
    kept.put("a", "A", size_bytes=10)
    kept.remove("a")
    kept.remove("a")
    assert kept.get("a") is None
    kept.put("b", "B", size_bytes=10)
    assert kept.get("b") == "B"


def test_many_threads_at_once_leave_no_more_than_is_allowed():
    kept: Recent[int] = Recent(100)
    wrong: list[object] = []

    def use(seed: int) -> None:
        try:
            for turn in range(3000):
                name = f"{(seed * 7 + turn * turn) % 40}"
                kept.put(name, int(name), size_bytes=1 + turn % 9)
                if kept.get(name) not in (None, int(name)):
                    wrong.append(name)
                if turn % 5 == 0:
                    kept.remove(name)
        except Exception as error:  # noqa: BLE001
            wrong.append(error)

    threads = [threading.Thread(target=use, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    sizes = [size for _, size in kept._entries.values()]
    assert kept._bytes == sum(sizes) <= 100
