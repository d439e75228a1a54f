from __future__ import annotations

from daemon.intake import CROWD, Intake, Message, Unsubscribed


def message(number: int, qos: int, payload: bytes = b"x") -> Message:
    return Message("t", payload, number, qos, number, 1)


def taken(intake: Intake) -> list[int]:
    return [each.mid for each in intake.take(10**6, 0.0)[0]]


def look(intake: Intake) -> None:
    """What a step does that takes no message."""
    intake.take(0, 0.0)


def test_at_qos_0_the_oldest_messages_beyond_the_bound_go_and_are_counted() -> None:
    intake = Intake(most=3)
    for number in range(5):
        intake.put(message(number, 0))
        look(intake)
    assert (intake.overflowed(), intake.overflowed()) == (2, 0)
    assert taken(intake) == [2, 3, 4]
    intake.put(message(5, 0))
    assert (taken(intake), intake.overflowed()) == ([5], 0)
    assert (intake.waiting, intake.waiting_bytes, intake.received) == (0, 0, 6)


def test_at_qos_0_the_newest_messages_are_turned_away_while_nobody_takes_any() -> None:
    intake = Intake(most=3)
    for number in range(5):
        intake.put(message(number, 0))
    assert (taken(intake), intake.overflowed()) == ([0, 1, 2], 2)


def test_at_qos_0_payloads_are_bounded_too() -> None:
    intake = Intake(most_bytes=250)
    for number in range(5):
        intake.put(message(number, 0, b"x" * 100))
        look(intake)
    assert (taken(intake), intake.overflowed()) == ([3, 4], 3)


def test_messages_at_qos_1_do_not_go_for_those_at_qos_0() -> None:
    intake = Intake(most=3)
    for number in range(6):
        intake.put(message(number, qos=number < 3))
        look(intake)
    assert (taken(intake), intake.overflowed()) == ([0, 1, 2], 3)


def test_at_qos_1_nothing_is_turned_away_and_the_connection_is_told_to_stop_reading() -> None:
    intake = Intake(most=3)
    for number in range(CROWD - 1):
        intake.put(message(number, 1))
    assert not intake.crowded()
    intake.put(message(CROWD - 1, 1))
    assert intake.crowded()
    assert (taken(intake), intake.overflowed()) == (list(range(CROWD)), 0)
    assert not intake.crowded()


def test_what_the_network_has_to_say_is_heard_however_full_it_is() -> None:
    intake = Intake(most=1)
    ended = Unsubscribed(("t",))
    for item in (message(0, 0), message(1, 0), ended):
        intake.put(item)
    assert intake.take(0, 0.0) == ([], [ended])
