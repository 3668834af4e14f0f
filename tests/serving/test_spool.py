from dataclasses import dataclass, field

import pyarrow as pa

from avrec.serving.meters import Meters
from avrec.serving.spool import Spool
from avrec.serving.state import StateError


@dataclass
class Log:
    """Takes lists, unless it is away."""

    lists: list[int] = field(default_factory=list)
    away: bool = False

    def log_served(self, shown):
        if self.away:
            raise StateError("away")
        self.lists += shown["n"].to_pylist()


def spool(*numbers, most=10):
    meters = Meters()
    made = Spool(meters, most)
    for number in numbers:
        made.keep(pa.table({"n": [number]}))
    return made, meters


def counts(meters):
    told = {one.name: one.value for one in meters.samples()}
    return told["avrec_waiting_lists"], told["avrec_unlogged_lists_total"]


def test_lists_are_written_in_their_order_and_once():
    made, meters = spool(1, 2, 3)
    log = Log()
    for _ in range(3):
        made.pour(log)
    assert log.lists == [1, 2, 3]
    assert counts(meters) == (0, 0)


def test_the_oldest_are_given_up_and_counted():
    made, meters = spool(1, 2, 3, 4, most=2)
    assert counts(meters) == (2, 2)
    log = Log()
    made.pour(log)
    assert log.lists == [3, 4]


def test_one_that_is_refused_is_not_sent_again():
    made, meters = spool(1, 2, 3)
    log = Log(away=True)
    made.pour(log)
    assert counts(meters) == (2, 1)
    log.away = False
    made.pour(log)
    assert log.lists == [2, 3]
