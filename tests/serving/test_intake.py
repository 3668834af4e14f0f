"""Events of several requests are stored in one go; each request has its own receipt."""

import asyncio
import threading

import pytest

from avrec.serving.intake import Intake
from avrec.serving.state import StateError


def event(name, **others):
    return {"event_id": name, "user_id": "u", "item_id": "b1", "kind": "play"} | others


class Store:
    """Counts what is stored together; the first time, others gather until all have been sent."""

    def __init__(self, state, all_sent):
        self.really, self.all_sent, self.calls = state.append, all_sent, []

    def __call__(self, events):
        ids = events["event_id"].to_pylist()
        self.calls.append(ids)
        assert self.all_sent.wait(20)
        if "wrong" in ids:
            raise StateError("full")
        if "odd" in ids:
            raise EOFError
        return self.really(events)


@pytest.fixture
def posted(models, monkeypatch):
    def post(*batches):
        all_sent = threading.Event()
        store = Store(models.active.state, all_sent)
        monkeypatch.setattr(models.active.state, "append", store)

        async def send():
            intake = Intake(models)
            tasks = [asyncio.create_task(intake.take(one, str)) for one in batches[:1]]
            while not store.calls:
                await asyncio.sleep(0)
            tasks += [asyncio.create_task(intake.take(one, str)) for one in batches[1:]]
            await asyncio.sleep(0)
            all_sent.set()
            return await asyncio.gather(*tasks, return_exceptions=True)

        return asyncio.run(send()), store.calls

    return post


def test_what_comes_while_others_are_stored_is_stored_together(posted):
    batches = [event("a")], [event("b"), event("a")], [event("no", item_id="?")], [event("b")]
    receipts, calls = posted(*batches)
    assert calls == [["a"], ["b", "a", "b"]]
    told = [[one.status for one in receipt.events] for receipt in receipts]
    assert told == [["accepted"], ["accepted", "duplicate"], ["refused"], ["duplicate"]]
    assert [receipt.accepted for receipt in receipts] == [1, 1, 0, 0]


def test_what_cannot_be_stored_fails_alone(posted):
    receipts, calls = posted([event("a")], [event("wrong")], [event("b")])
    assert calls == [["a"], ["wrong", "b"], ["wrong"], ["b"]]
    assert [getattr(one, "accepted", "failed") for one in receipts] == [1, "failed", 1]
    assert isinstance(receipts[1], StateError)


def test_nobody_waits_for_work_that_broke_off(posted):
    receipts, _ = posted([event("odd")])
    assert isinstance(receipts[0], AssertionError)
