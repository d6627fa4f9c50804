"""The table that the limits count in does what a dict would do."""

from hypothesis import given
from hypothesis import strategies as st

from journalrelay.rules.places import WORD, Ends, Table

GROUPS = st.sampled_from([0, 1, 2, 1 << 63, (1 << 64) - 1])
ROWS = st.lists(st.tuples(GROUPS, st.integers(0, 400), st.integers(1, 60)), max_size=200)


@given(rows=ROWS)
def test_a_row_is_found_until_it_ends_however_many_others_come(
    rows: list[tuple[int, int, int]],
) -> None:
    table, model = Table(), dict[tuple[int, int], int]()
    for now_s, (group, member, length_s) in enumerate(rows, 100):
        table.put(group, member, now_s + length_s, now_s)
        model[group, member] = max(now_s + length_s, model.get((group, member), 0))
        for each in (group, 1):
            live = {m: end_s for m, end_s in table.rows(each) if end_s > now_s}
            assert live == {
                m: end_s for (g, m), end_s in model.items() if g == each and end_s > now_s
            }


def test_it_grows_and_gives_up_what_is_over() -> None:
    table = Table()
    for number in range(20_000):
        table.put(hash(number) & WORD, number, 100 + number // 1000, number // 1000)
    assert all(
        table.rows(hash(number) & WORD) == [(number, 100 + number // 1000)]
        for number in range(20_000)
    )
    room = len(table._ends)
    for number in range(100_000, 300_000):
        table.put(hash(number) & WORD, number, 1000 + number, 999 + number)
    assert len(table._ends) <= room


def test_a_row_that_is_not_wanted_goes() -> None:
    table = Table()
    for group in range(100):
        table.put(group, group % 3, 100, 0)
    table.keep(lambda _group, member: member != 1)
    assert sorted(group for group, _, _ in table.all()) == [g for g in range(100) if g % 3 != 1]


@given(steps=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5), st.integers(1, 30))))
def test_ends_are_counted_however_often_they_are_put_off(steps: list[tuple[int, int, int]]) -> None:
    model, now_s = dict[int, int](), 1000
    ends = Ends(lambda number: model[number])
    for who, wait_s, length_s in steps:
        now_s += wait_s
        ends.left(now_s)
        fresh = model.get(who, 0) <= now_s
        model[who] = max(now_s + length_s, model.get(who, 0))
        if fresh:
            ends.add(who, model[who])
        assert ends.left(now_s) == sum(end_s > now_s for end_s in model.values())
    assert ends.left(now_s + 100_000) == 0


def test_a_row_is_prolonged_where_it_stands() -> None:
    table = Table()
    table.put(5, 7, 100, 0)
    slot = table.find(5, 7, 99)
    for end_s in (120, 110):
        table.prolong(slot, end_s)
        assert table.rows(5) == [(7, 120)]
    assert table.find(5, 7, 120) == table.find(5, 8, 0) == table.find(6, 7, 0) == -1
