from query.memory import Memory


def test_the_longest_unused_goes_first() -> None:
    memory = Memory(100)
    for key in "abc":
        memory.put(key, key.upper(), 30)
    assert (memory.get("a"), memory.held) == ("A", 90)
    memory.put("d", "D", 30)
    assert [memory.get(key) for key in "abcd"] == ["A", None, "C", "D"]
    assert memory.held == 90


def test_a_value_put_again_counts_once_and_one_too_large_stands_alone() -> None:
    memory = Memory(100)
    memory.put("a", 1, 40)
    memory.put("a", 2, 60)
    assert (memory.get("a"), memory.held) == (2, 60)
    memory.put("b", 3, 500)
    assert (memory.get("a"), memory.get("b"), memory.held) == (None, 3, 500)
    memory.put("c", 4, 10)
    assert (memory.get("b"), memory.get("c"), memory.held) == (None, 4, 10)


def test_nothing_is_kept_without_room_or_after_it_was_dropped() -> None:
    none = Memory(0)
    none.put("a", 1, 0)
    assert (none.get("a"), none.held) == (None, 0)
    memory = Memory(100)
    for key in (("x", 1), ("y", 1), ("x", 2)):
        memory.put(key, key, 10)
    memory.drop(lambda key: isinstance(key, tuple) and key[0] == "x")
    assert (memory.get(("x", 1)), memory.get(("y", 1)), memory.held) == (None, ("y", 1), 10)
    memory.forget()
    assert (memory.get(("y", 1)), memory.held) == (None, 0)
