"""Replicas on one board, with bundles that are stand-ins."""

import gc
import weakref

import pytest

from avrec.errors import ArtifactError
from avrec.serving.judge import Tolerance
from avrec.serving.routing import RoutingError
from avrec.serving.service import Progress
from avrec.serving.state import StateError
from tests.serving.world import FakeShelf, models

OLD, NEW, NEXT = "20240101T000000-00000001", "20240102T000000-00000002", "20240103T000000-00000003"


@pytest.fixture
def shelf():
    return FakeShelf(OLD, NEW, NEXT)


@pytest.fixture
def replicas(tmp_path, shelf):
    tolerance = Tolerance(window=20, max_errors=0.1)
    made = [models(tmp_path / "s.sqlite", shelf, first=OLD, tolerance=tolerance) for _ in range(2)]
    yield made
    for one in made:
        one.stop()


def ask(replica, user_id="u"):
    return replica.answer(
        user_id, lambda service, _: service.bundle.recommender.similar(0, 3), Progress()
    )


def version(replica, user_id="u"):
    return ask(replica, user_id).service.bundle.version


def test_all_replicas_follow_one(replicas, wait_until):
    one, other = replicas
    other.start()
    assert one.activate(NEW).previous == OLD
    assert version(one) == NEW
    wait_until(lambda: version(other) == NEW)
    one.roll_back()
    assert version(one) == OLD
    wait_until(lambda: version(other) == OLD)
    with pytest.raises(RoutingError, match="no version to go back to"):
        other.roll_back()


def test_a_replica_that_starts_later_begins_with_what_is_active(replicas, tmp_path, shelf):
    replicas[0].activate(NEW)
    assert version(models(tmp_path / "s.sqlite", shelf, first=OLD)) == NEW


def test_the_bundle_made_last_is_the_first_where_none_is_named(tmp_path, shelf):
    assert version(models(tmp_path / "s.sqlite", shelf)) == NEXT


def test_a_bad_bundle_is_refused_and_the_old_one_goes_on(replicas, shelf):
    shelf.bundles[NEW] = "a file was altered"
    for change in (lambda: replicas[0].activate(NEW), lambda: replicas[0].activate("none")):
        with pytest.raises(ArtifactError):
            change()
    assert version(replicas[0]) == OLD
    assert replicas[0].routing.active == OLD
    assert "avrec_refused_models_total 2.0" in replicas[0].meters.text().decode()


def test_a_bundle_that_is_bad_elsewhere_is_said_there(tmp_path, wait_until):
    good, bad = (models(tmp_path / "s.sqlite", FakeShelf(OLD, NEW), first=OLD) for _ in range(2))
    bad.shelf.bundles[NEW] = "its disk is broken"
    good.activate(NEW)
    wait_until(lambda: bad.follow() or bad.stock.refused)
    assert bad.stock.refused == {NEW: "its disk is broken"}
    assert version(bad) == OLD
    assert version(good) == NEW


def test_a_start_without_the_active_bundle_falls_back(replicas, tmp_path):
    replicas[0].activate(NEW)
    left = models(tmp_path / "s.sqlite", FakeShelf(OLD))
    assert version(left) == OLD
    with pytest.raises(ArtifactError):
        models(tmp_path / "s.sqlite", FakeShelf())


def test_a_share_of_the_people_gets_the_candidate_everywhere(replicas, wait_until):
    one, other = replicas
    one.activate(NEW, share=0.5)
    wait_until(lambda: other.follow() or other.routing.candidate == NEW)
    users = [f"user-{n}" for n in range(60)]
    shown = [version(one, user) for user in users]
    assert {OLD, NEW} == set(shown)
    assert shown == [version(other, user) for user in users]
    assert version(one, None) == OLD
    one.roll_back()
    assert {version(one, user) for user in users} == {OLD}


def test_a_shadow_makes_lists_that_nobody_sees(replicas, wait_until):
    replicas[0].activate(NEW, share=0.0, shadow=True)
    assert version(replicas[0]) == OLD
    text = 'avrec_shadow_lists_total{status="compared"} 1.0'
    wait_until(lambda: text in replicas[0].meters.text().decode())
    assert "avrec_shadow_overlap_sum 1.0" in replicas[0].meters.text().decode()


class Broken:
    def similar(self, item, k):
        raise LookupError("no such row")


def test_a_new_bundle_that_fails_is_taken_back_and_nobody_notices(replicas, shelf, wait_until):
    shelf.bundles[NEW].recommender = Broken()
    replicas[0].activate(NEW)
    assert [version(replicas[0]) for _ in range(4)] == [OLD] * 4
    assert replicas[0].routing.active == OLD
    assert "taken back: 3 of 3 lists failed" in replicas[0].routing.why
    wait_until(lambda: replicas[1].follow() or "taken back" in replicas[1].routing.why)


def test_a_candidate_that_fails_is_dropped(replicas, shelf):
    shelf.bundles[NEW].recommender = Broken()
    replicas[0].activate(NEW, share=0.999)
    assert [version(replicas[0], f"{n}") for n in range(6)] == [OLD] * 6
    assert replicas[0].routing.candidate is None


def test_a_new_bundle_that_is_slow_is_taken_back(replicas, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("avrec.serving.models.time.perf_counter", lambda: now[0])

    def slowly(service, _):
        now[0] += 0.01 if service.bundle.version == OLD else 0.1
        return service.bundle.recommender.similar(0, 3)

    one = replicas[0]
    for _ in range(20):
        one.answer("u", slowly, Progress())
    one.activate(NEW)
    shown = [one.answer("u", slowly, Progress()).service.bundle.version for _ in range(21)]
    assert shown == [NEW] * 20 + [OLD]
    assert "95 % of lists take up to 100.0 ms, before 10.0 ms" in one.routing.why


def test_a_bundle_alone_fails_aloud(replicas, shelf):
    replicas[0].active.bundle.recommender = Broken()
    with pytest.raises(LookupError):
        ask(replicas[0])


def test_a_state_that_fails_is_no_fault_of_a_bundle(replicas):
    def fail(service, watch):
        raise StateError("locked")

    replicas[0].activate(NEW)
    for _ in range(30):
        with pytest.raises(StateError):
            replicas[0].answer("u", fail, Progress())
    assert replicas[0].routing.active == NEW


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_whoever_follows_no_longer_says_so(replicas, monkeypatch):
    replicas[0].check()

    def die():
        raise SystemExit

    monkeypatch.setattr(replicas[0], "follow", die)
    replicas[0].start()
    replicas[0]._thread.join()
    with pytest.raises(StateError, match="restart it"):
        replicas[0].check()


def test_what_held_a_bundle_does_not_wait_for_the_collector(replicas):
    """What is loaded is large, and the collector seldom looks."""
    one, _ = replicas
    left = [weakref.ref(held) for held in (one.active, one.active._people)]
    gc.disable()
    try:
        one.activate(NEW)
        one.activate(NEXT)
        assert [ref() for ref in left] == [None, None]
    finally:
        gc.enable()
