"""Whatever a person does and asks for: nothing finished or refused comes back, by any way."""

import secrets
from dataclasses import replace

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avrec.copies import Copies
from avrec.factors import Factors
from avrec.interactions import Histories
from avrec.models import popularity
from avrec.models.features import knowledge
from avrec.recommend import Context, RecommendConfig, Recommender
from avrec.rerank import EXPLORE, RerankConfig
from avrec.schema import INTERACTIONS
from avrec.serving.people import UNWANTED
from tests.serving import world
from tests.serving.test_lists import Kind
from tests.serving.world import IDS, FakeShelf

ODDS = dict(zip(IDS[::2], IDS[1::2], strict=True))
"""A copy of each item of even place is the next one."""


def recommender(bundle, explore):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(len(IDS), 4)).astype(np.float32)
    known = knowledge(bundle.items, INTERACTIONS.empty_table())
    works = np.arange(len(IDS), dtype=np.int32) // 2 * 2
    known = replace(known, copies=Copies.of(works))
    rerank = RerankConfig(diversify="mmr", explore=explore, epsilon=0.5, temperature=1.0)
    models = [
        Kind("als", Factors(bundle.vocabulary, vectors)),
        popularity.fit(INTERACTIONS.empty_table(), bundle.vocabulary),
    ]
    config = RecommendConfig(rerank=rerank)
    return Recommender(bundle.vocabulary, IDS, models, known, None, config)


@pytest.fixture(params=EXPLORE)
def models(tmp_path, request):
    shelf = FakeShelf("v1")
    made = shelf.bundles["v1"]
    made.recommender = recommender(made, request.param)
    return world.models(tmp_path / "live.sqlite", shelf)


@pytest.fixture
def client(api, key):
    with TestClient(api, headers={"Authorization": f"Bearer {key}"}) as made:
        yield made


DEEDS = st.lists(
    st.tuples(st.sampled_from(IDS), st.sampled_from(["play", "complete", "like", *UNWANTED])),
    max_size=8,
)


@settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(deeds=DEEDS, k=st.integers(1, 25), session=st.lists(st.sampled_from(IDS), max_size=3))
def test_nothing_finished_or_refused_comes_back(client, deeds, k, session):
    user = secrets.token_hex(8)
    rows = [
        {"event_id": f"{user}{n}", "user_id": user, "item_id": item, "kind": kind}
        for n, (item, kind) in enumerate(deeds)
    ]
    if rows:
        assert client.post("/v1/events", json={"events": rows}).json()["accepted"] == len(rows)
    last = dict(deeds)
    refused = {item for item, kind in last.items() if kind in UNWANTED}
    finished = {item for item, kind in deeds if kind in ("complete", "dislike", "hide")}
    over = {one for pair in ODDS.items() if (finished | refused) & set(pair) for one in pair}
    body = {"user_id": user, "k": k, "context": {"session": session}}
    shown = [
        one["item_id"] for one in client.post("/v1/recommendations", json=body).json()["items"]
    ]
    assert len(set(shown)) == len(shown) <= k
    assert not set(shown) & (over | set(session))
    assert len({IDS.index(item) // 2 for item in shown}) == len(shown)

    answer = client.post("/v1/rank", json=body | {"items": IDS, "k": 25}).json()
    left = {one["item_id"]: one["reason"] for one in answer["left_out"]}
    assert left == dict.fromkeys(over, "finished_or_refused")
    assert sorted([one["item_id"] for one in answer["items"]] + list(left)) == IDS
    assert all(0 < one["propensity"] <= 1 for one in answer["items"])


def test_a_list_is_logged_with_its_chances_and_can_be_drawn_again(client, service):
    answer = client.post("/v1/recommendations", json={"k": 6}).json()
    logged = service.state.seal(9).served
    shown = answer["items"]
    assert logged["item_id"].to_pylist() == [one["item_id"] for one in shown]
    told = [one["propensity"] for one in shown]
    np.testing.assert_allclose(logged["propensity"].to_numpy(), told, rtol=1e-6)
    assert set(logged["policy"].to_pylist()) == {answer["policy"]}
    made = service.bundle.recommender
    assert answer["policy"] == made.policy
    nobody = Histories.of([np.empty(0, np.int32)])
    context = Context(request_ids=[answer["request_id"]])
    [again] = made.recommend(nobody, k=6, at=0, context=context)
    assert [IDS[row] for row in again.items] == [one["item_id"] for one in shown]
    np.testing.assert_allclose(again.propensities, told, rtol=1e-6)
