from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrec.embed.pool import Content, Scale
from avrec.models.fields import FIELDS, KNOTS, FieldsConfig, categories, numbers, with_fields
from avrec.schema import ITEMS, MEDIA, conform
from avrec.vocab import Vocabulary

TAGS = st.lists(
    st.lists(st.sampled_from(["rock", "jazz", "talk", "news"]), max_size=3), min_size=1, max_size=8
)


def column(values):
    return pa.chunked_array([pa.array(values, pa.list_(pa.string()))])


def rows(values, width=64):
    return categories(column(values), np.arange(len(values), dtype=np.int32), len(values), width)


@given(TAGS)
def test_items_of_the_same_values_have_the_same_row(values):
    vectors = rows(values)
    for one, first in enumerate(values):
        for other, second in enumerate(values):
            if set(first) == set(second):
                np.testing.assert_allclose(vectors[one], vectors[other], atol=1e-6)


@given(TAGS, st.randoms())
def test_order_of_items_and_of_values_does_not_matter(values, random):
    order = list(range(len(values)))
    random.shuffle(order)
    turned = rows([values[n][::-1] for n in order])
    np.testing.assert_allclose(turned, rows(values)[order], atol=1e-6)


def test_no_value_is_a_row_of_zeros_and_the_others_are_unit():
    vectors = rows([["rock"], None, [], [None], ["jazz", None]])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 0, 0, 0, 1], atol=1e-6)


def test_a_rare_value_weighs_more():
    vectors = rows([["common", "rare"], *[["common"]] * 9, ["rare"]])
    assert vectors[0] @ vectors[-1] > vectors[0] @ vectors[1] + 0.5


def test_unlike_values_hardly_meet():
    """Collisions have signs, so that they cancel out on the whole."""
    vectors = rows([[f"value {n}"] for n in range(200)], width=512)
    apart = (vectors @ vectors.T)[~np.eye(200, dtype=bool)]
    assert abs(apart.mean()) < 0.01
    assert np.mean(apart**2) < 4 / 512


def test_near_ranks_share_knots_and_far_ones_do_not():
    vectors = numbers(np.array([1.0, 2.0, 4.0, 1e9, np.nan]))
    assert vectors.shape == (5, KNOTS)
    cosines = vectors @ vectors.T
    assert cosines[0, 3] == 0
    assert not vectors[4].any()
    np.testing.assert_allclose(np.diag(cosines)[:4], 1, atol=1e-6)


@given(st.lists(st.integers(-20, 20), min_size=1, max_size=9))
def test_only_the_order_of_numbers_matters(values):
    plain = np.array(values, np.float64)
    np.testing.assert_allclose(numbers(plain), numbers(np.exp(plain / 5)), atol=1e-6)


def test_fields_stand_beside_the_modalities():
    vocabulary = Vocabulary.of(["a", "b", "c"])
    seen, scale = np.eye(3, dtype=np.float32), Scale(np.zeros(3), np.ones(3))
    items = pa.table(
        {
            "item_id": ["c", "a", "elsewhere"],
            "title": ["C", "A", "E"],
            "creator_id": ["x", "x", "x"],
            "published_at": [datetime(2020, 1, 1, tzinfo=UTC), None, None],
        }
    )
    media = conform(
        pa.table({"item_id": ["a"], "uri": ["a.ogg"], "duration_seconds": [3.0]}), MEDIA
    )
    content = with_fields(
        Content(vocabulary, {"sight@1": seen}, {"sight@1": scale}),
        conform(items, ITEMS),
        FieldsConfig(names=("creator_id", "published_at", "duration_seconds")),
        media,
    )
    assert content.modalities["sight@1"] is seen
    assert content.scales == {"sight@1": scale}
    known = {name: rows.any(axis=1).tolist() for name, rows in content.modalities.items()}
    assert known == {
        "sight@1": [True] * 3,
        "field/creator_id": [True, False, True],
        "field/published_at": [False, False, True],
        "field/duration_seconds": [True, False, False],
    }
    creators = content.modalities["field/creator_id"]
    np.testing.assert_allclose(creators[0], creators[2], atol=1e-6)


def test_an_empty_catalogue_has_empty_fields():
    nothing = Content(Vocabulary.of([]), {})
    content = with_fields(nothing, ITEMS.empty_table(), FieldsConfig(names=FIELDS))
    assert {rows.shape[0] for rows in content.modalities.values()} == {0}


def test_an_unknown_field_is_refused():
    with pytest.raises(ValueError, match=r"names must be among .* got \['colour'\]"):
        FieldsConfig(names=("colour",))
