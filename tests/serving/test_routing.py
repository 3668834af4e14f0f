import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrec.serving.routing import Routing, RoutingError, activated, parse, rolled_back, tried

USERS = [f"user-{n}" for n in range(4000)]


def chosen(routing, users=USERS):
    return {user for user in users if routing.chosen(user)}


def test_activating_remembers_what_was_before_and_rolling_back_returns_there():
    second = activated(Routing(active="1"), "2")
    assert (second.active, second.previous) == ("2", "1")
    assert (rolled_back(second).active, rolled_back(second).previous) == ("1", None)
    assert activated(second, "2").previous == "1"
    with pytest.raises(RoutingError, match="no version to go back to"):
        rolled_back(Routing(active="1"))


def test_rolling_back_drops_a_candidate_first():
    routing = tried(activated(Routing(active="1"), "2"), "3", 0.5, shadow=True)
    back = rolled_back(routing)
    assert (back.active, back.previous, back.candidate, back.share) == ("2", "1", None, 0.0)
    assert not chosen(back)


@given(st.floats(0, 0.999), st.floats(0, 0.999))
def test_whoever_is_chosen_stays_so_as_the_share_grows(first, second):
    small, large = sorted((first, second))
    routing = tried(Routing(active="1"), "2", small, shadow=False)
    grown = tried(routing, "2", large, shadow=False)
    assert chosen(routing, USERS[:200]) <= chosen(grown, USERS[:200])


def test_the_share_is_of_the_people_and_other_people_the_next_time():
    first, second = (tried(Routing(active="1"), "2", 0.25, shadow=False) for _ in range(2))
    assert 800 < len(chosen(first)) < 1200
    assert 100 < len(chosen(first) & chosen(second)) < 400
    assert not first.chosen(None)


def test_the_active_one_is_not_tried_beside_itself():
    with pytest.raises(RoutingError, match="is active"):
        tried(Routing(active="1"), "1", 0.5, shadow=False)


def test_it_is_read_back():

    routing = tried(Routing(active="1"), "2", 0.25, shadow=True)
    assert parse(json.dumps(asdict(routing))) == routing
