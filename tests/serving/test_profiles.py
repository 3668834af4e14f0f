"""Of whom only a profile is known, and what a request states of it."""

import numpy as np
import pyarrow as pa
import pytest

from avrec.embed.pool import Content
from avrec.interactions import histories
from avrec.models import towers
from avrec.models.towers_net import TowersConfig
from avrec.recommend import RecommendConfig
from avrec.schema import USERS, conform
from avrec.serving.app import ServeArgs, open_models
from avrec.store import Workspace
from avrec.users import told
from avrec.vocab import Vocabulary
from tests import bundles
from tests.serving.test_api import ask, ids

ITEMS = [
    {"item_id": f"{kind}{n}", "title": f"{kind} {n}"} for kind in ("ice", "sun") for n in range(6)
]
TASTES = {"north": "ice", "south": "sun"}
CONFIG = TowersConfig(
    dim=16, num_heads=2, history_length=4, epochs=12, batch_size=30, profile=("age", "home")
)


def described():
    """Sixty who are heard of, and one of the north of whom no event is known."""
    homes = {f"u{n:02}": list(TASTES)[n % 2] for n in range(60)} | {"newcomer": "north"}
    columns = {"user_id": list(homes), "field": ["home"] * 61, "value": list(homes.values())}
    ages = pa.table({"user_id": ["u00"], "field": ["age"], "number": [30.0]})
    tables = [conform(pa.table(columns), USERS), conform(ages, USERS)]
    return pa.concat_tables(tables), homes


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    workspace, rng = Workspace(str(tmp_path_factory.mktemp("profiles"))), np.random.default_rng(0)
    users, homes = described()
    pairs = [
        (user, f"{TASTES[home]}{n}")
        for user, home in homes.items()
        if user != "newcomer"
        for n in rng.choice(6, 3, replace=False)
    ]
    items = Vocabulary.of([item["item_id"] for item in ITEMS])
    people, past = histories(bundles.interactions(pairs), items)
    model = towers.fit(told(past, people, users), Content(items, {}), CONFIG, seed=0)
    with workspace.create("towers", workspace.recipe({})) as draft:
        towers.save(model, draft)
    bundles.write_bundle(
        workspace,
        ITEMS,
        pairs,
        {"towers": workspace.open("towers")},
        recommend=RecommendConfig(sources=("towers",)),
        users=users,
    )
    return workspace


@pytest.fixture
def models(workspace, tmp_path):
    state, keys = str(tmp_path / "live.sqlite"), str(tmp_path / "keys.json")
    return open_models(ServeArgs(workspace=workspace.uri, state=state, keys=keys))


def kinds(answer):
    return [item_id[:3] for item_id in ids(answer)[:4]]


def from_towers(answer):
    return ["towers" in item["sources"] for item in answer["items"]]


def test_a_stored_profile_makes_a_list_before_any_event(client):
    answer = ask(client, user_id="newcomer")
    assert kinds(answer) == ["ice"] * 4
    assert all(from_towers(answer))
    assert not any(from_towers(ask(client, user_id="somebody else")))


def test_what_a_request_states_goes_over_what_is_stored(client):
    assert kinds(ask(client, context={"profile": {"home": "south"}})) == ["sun"] * 4
    answer = ask(client, user_id="newcomer", context={"profile": {"home": "south", "age": 30}})
    assert kinds(answer) == ["sun"] * 4
    stated = {"home": 7, "age": "old", "hobby": "skating"}
    answer = ask(client, user_id="newcomer", context={"profile": stated})
    assert answer["unknown"] == ["hobby"]
    assert kinds(answer) == ["ice"] * 4, "what is of another kind is not heard"


def test_a_forgotten_person_has_no_profile(client):
    assert client.delete("/v1/users/newcomer").status_code == 200
    assert not any(from_towers(ask(client, user_id="newcomer")))
    stated = {"profile": {"home": "south"}}
    assert kinds(ask(client, user_id="newcomer", context=stated)) == ["sun"] * 4
