from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from avrec import users
from avrec.config import RunConfig
from avrec.drained import write_forgotten
from avrec.errors import InputError
from avrec.interactions import Histories, stacked
from avrec.schema import FORGOTTEN, USERS
from avrec.store import Workspace
from avrec.users import UsersConfig, profiles, read_users
from avrec.vocab import Vocabulary
from jobs.users import run

CSV = """id,sex,age,country
u2,F,31,
u1, M ,old,CH
u3,F,  22.5,DE
u2,F,32,FR
,M,1,DE
"""
EVERYBODY = Vocabulary.of(["u1", "u2", "u3", "u4"])


@pytest.fixture
def config(tmp_path):
    (tmp_path / "users.csv").write_text(CSV)
    return UsersConfig(
        uri=str(tmp_path / "users.csv"),
        columns={"user_id": "id"},
        categories=("sex", "country"),
        numbers=("age",),
    )


def test_what_is_not_known_has_no_row_and_the_last_row_of_a_user_counts(config):
    found = profiles(read_users(config), EVERYBODY)
    assert found["sex"].tolist() == ["M", "F", "F", ""]
    assert found["country"].tolist() == ["CH", "FR", "DE", ""]
    np.testing.assert_array_equal(found["age"], [np.nan, 32, 22.5, np.nan])


def test_order_of_rows_and_of_fields_does_not_matter(config):
    table = read_users(config)
    turned = read_users(replace(config, categories=("country", "sex"))).to_pylist()[::-1]
    again = profiles(pa.Table.from_pylist(turned, schema=USERS), EVERYBODY)
    for name, known in profiles(table, EVERYBODY).items():
        np.testing.assert_array_equal(again[name], known)
    assert list(again) == ["age", "country", "sex"]


def test_a_field_that_is_not_there_is_said(config):
    with pytest.raises(InputError, match=r"no column 'town'; .* write \[users.columns\] town"):
        read_users(replace(config, categories=("town",)))
    with pytest.raises(ValueError, match="must name a field once"):
        replace(config, categories=("age",))
    with pytest.raises(ValueError, match="must name a field of the users"):
        UsersConfig(uri="users.csv")


def test_the_job_leaves_out_who_is_forgotten(config, tmp_path):
    workspace = Workspace(str(tmp_path / "workspace"))
    run(RunConfig(users=config), workspace)
    assert len(workspace.read_table("users", USERS)) == 8
    forgotten = pa.table({"user_id": ["u3"], "at": pa.array([1], FORGOTTEN.field("at").type)})
    write_forgotten(workspace.root, forgotten)
    run(RunConfig(users=config), workspace)
    left = workspace.read_table("users", USERS)
    assert set(left["user_id"].to_pylist()) == {"u1", "u2"}
    run(RunConfig(), workspace)
    assert not workspace.has("users")


def test_a_profile_goes_with_its_row():
    past = Histories.of([np.array([1, 2]), np.array([], int), np.array([3])])
    table = pa.table({"user_id": ["u3", "u1"], "field": ["sex"] * 2, "value": ["F", "M"]})
    known = users.told(past, Vocabulary.of(["u1", "u2", "u3"]), table).asked(7)
    assert known.profile["sex"].tolist() == ["M", "", "F"]
    some = known.take(np.array([2, 0, 2])).last(1)
    assert some.profile["sex"].tolist() == ["F", "M", "F"]
    assert some.only(some.items > 9).asked_at.tolist() == [7, 7, 7]
    joined = stacked([past, some.asked(9)])
    assert joined.profile["sex"].tolist() == ["", "", "", "F", "M", "F"]
    assert joined.asked_at.tolist() == [0, 0, 0, 7, 7, 7]
    assert past.then(known).profile == known.profile
