"""Which slot a market gets, and which slots there are, without a session."""

from collector.links import Role, Slot
from collector.rota import NS
from collector.seating import BOUND_NS, EMPTY_NS, FIXED, Seating
from tests.collector.venues import books, names


def seated(count: int, *, most: int = 10, connections: int = 20) -> Seating:
    seating = Seating(connections, most)
    for ticker in names(count):
        seating.want(ticker)
    place(seating)
    for link, slot in enumerate(seating.slots()):
        seating.opened(slot, link, 0)
    return seating


def place(seating: Seating, now_s: float = 0, conns: dict[Slot, int] | None = None, last: int = 0) -> dict[str, Slot]:
    return dict(seating.place(int(now_s * NS), lambda _: last, (conns or {}).get))


def test_every_market_has_one_slot_and_no_slot_more_than_it_may_have() -> None:
    seating = seated(35)
    assert seating.slots() == [*FIXED, *books(4)]
    assert sorted(len(seat.members) for seat in seating.seats.values()) == [8, 9, 9, 9]
    assert {
        ticker: seating.homes[ticker] for seat in seating.seats.values() for ticker in seat.members
    } == seating.homes


def test_a_market_that_lived_goes_where_its_span_may_open_and_best_where_it_was() -> None:
    first, second, third = books(3)
    conns = {first: 100, second: 300, third: 200}
    for last, found in ((0, {first, second, third}), (200, {third}), (250, {second}), (300, {second})):
        seating = seated(21)
        seating.want("X")
        assert place(seating, conns=conns, last=last)["X"] in found
    seating = seated(21)
    seating.want("X")
    assert place(seating, conns={first: 100, second: 300}, last=400)["X"] == third  # its next conn is above all


def test_where_no_span_may_open_the_market_waits_on_a_slot_with_room() -> None:
    seating = seated(9)
    seating.want("X")
    assert place(seating, conns=dict.fromkeys(books(1), 100), last=400) == {"X": books(1)[0]}


def test_the_emptiest_of_too_many_slots_runs_empty_and_goes() -> None:
    seating = seated(40)
    for ticker in [ticker for seat in list(seating.seats.values())[:3] for ticker in list(seat.members)[:8]]:
        seating.drop(ticker)
    rest, *_ = (slot for slot, seat in seating.seats.items() if len(seat.members) == 2)
    spare = min(seating.seats, key=lambda slot: len(seating.seats[slot].members))
    for ticker in names(3, 100):
        seating.want(ticker)
    assert spare not in place(seating).values()
    for ticker in list(seating.seats[rest].members):
        seating.drop(ticker)
    place(seating)
    place(seating, EMPTY_NS / NS + 1)
    assert rest not in seating.slots()


def test_a_connection_refused_to_the_tape_costs_a_book_slot_that_does_not_stand() -> None:
    seating = seated(30)
    tape, standing = Slot(0, Role.TAPE), books(3)[:2]
    seating.ended(books(3)[2], 4, vain=0)
    seating.turned_away(tape, 503)
    assert len(seating.seats) == 3
    seating.turned_away(tape, 429)
    assert list(seating.seats) == standing
    assert len(seating.homeless) == 10
    place(seating, BOUND_NS / NS - 1)
    assert len(seating.seats) == 2


def test_a_connection_refused_to_the_tape_again_and_again_costs_the_emptiest_book_slot() -> None:
    seating = seated(25)
    emptiest = min(seating.seats, key=lambda slot: len(seating.seats[slot].members))
    for times in range(3):
        assert emptiest in seating.seats, times
        seating.turned_away(Slot(0, Role.TAPE), 429)
    assert emptiest not in seating.seats


def test_the_last_book_slot_is_never_given_up() -> None:
    seating = Seating(20, 10)
    seating.want("A")
    place(seating)
    for _ in range(5):
        seating.turned_away(books(1)[0], 429)
    assert list(seating.seats) == books(1)
    assert seating.homes == {"A": books(1)[0]}


def test_a_bound_that_no_longer_holds_is_passed_one_by_one() -> None:
    seating = seated(50)
    for link, slot in enumerate(books(5)[2:], 4):
        seating.ended(slot, link, vain=0)
        seating.turned_away(slot, 429)
    assert list(seating.seats) == books(2)
    at_s = BOUND_NS / NS * 16
    for count in (3, 4, 5):
        place(seating, at_s)
        assert len(seating.seats) == count
        place(seating, at_s)
        assert len(seating.seats) == count
        seating.opened(list(seating.seats)[-1], 10 + count, int(at_s * NS))
    assert not seating.homeless
