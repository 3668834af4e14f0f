import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrec.embed.stats import AMOUNTS, Lane, Report, Tally

LANES = {
    "decode": Lane("decoders", 4),
    "look@1": Lane("actors", 2),
    "hear@1": Lane("actors", 2),
}


def ten_seconds(**seconds):
    report = Report(LANES, wall_seconds=10.0)
    report.add({stage: {"seconds": busy} for stage, busy in seconds.items()}, {})
    return report


def test_a_lane_is_busy_for_all_its_stages():
    report = ten_seconds(**{"decode": 20.0, "look@1": 4.0, "hear@1": 8.0})
    assert report.busy_share("decode") == 0.5
    assert report.busy_share("hear@1") == 0.4
    assert report.lane_share("actors") == pytest.approx(0.6)


def test_the_bottleneck_is_the_busiest_stage_of_the_busiest_lane():
    report = ten_seconds(**{"decode": 20.0, "look@1": 4.0, "hear@1": 8.0})
    assert report.bottleneck() == "hear@1"
    report.add({"decode": {"seconds": 19.0}}, {})
    assert report.bottleneck() == "decode"


def test_cost_of_an_hour_of_media():
    report = Report({}, wall_seconds=1.0)
    fetched = {"bytes_in": 500.0, "cpu_seconds": 1.0, "media_seconds": 1800.0, "files": 3}
    report.add({"decode": fetched, "look@1": {"cpu_seconds": 2.0, "gpu_seconds": 4.0}}, {})
    cost = {"cpu_seconds": 6.0, "gpu_seconds": 8.0, "bytes_in": 1000.0}
    assert report.cost_per_media_hour() == cost
    assert report.to_json()["files"] == 3


def test_nothing_done_has_no_bottleneck_and_no_cost():
    told = Report({}).to_json()
    assert told["bottleneck"] is None
    assert told["cost_per_media_hour"] == {}
    assert told["stages"] == []


AMOUNT = st.dictionaries(st.sampled_from(AMOUNTS), st.integers(0, 9))
TAKEN = st.dictionaries(st.sampled_from(sorted(LANES)), AMOUNT)


@given(st.lists(TAKEN), st.randoms())
def test_reports_add_up_in_any_order(taken, random):
    one, two = Report(LANES, wall_seconds=1.0), Report(LANES, wall_seconds=1.0)
    for each in taken:
        one.add(each, {"timeout": 1})
    random.shuffle(taken)
    for each in taken:
        two.add(each, {"timeout": 1})
    assert sorted(map(str, one.to_json()["stages"])) == sorted(map(str, two.to_json()["stages"]))
    assert one.errors["timeout"] == len(taken)


def test_a_tally_gives_what_was_added_since_the_last_time():
    tally = Tally()
    tally.add("decode", files=1, bytes_in=10)
    tally.add("decode", files=1)
    assert tally.take() == {"decode": {"files": 2, "bytes_in": 10}}
    assert tally.take() == {}


def test_a_tally_counts_a_block_that_fails():
    tally = Tally()
    with pytest.raises(ZeroDivisionError), tally.busy("look@1", on_gpu=True):
        _ = 1 / 0
    told = tally.take()["look@1"]
    assert told["seconds"] > 0
    assert told["gpu_seconds"] == told["seconds"]
