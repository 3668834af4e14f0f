from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrec.embed import pool
from avrec.errors import ArtifactError
from avrec.schema import EMBEDDINGS
from avrec.store import Workspace
from avrec.vocab import Vocabulary

ITEMS = Vocabulary.of(["a", "b", "c", "d"])


def rows(*entries):
    columns = [(item, encoder, 0.0, 1.0, vector) for item, encoder, vector in entries]
    return pa.table([list(column) for column in zip(*columns, strict=True)], schema=EMBEDDINGS)


WORLD = rows(
    ("a", "look@1", [1.0, 7, 0]),
    ("a", "look@1", [3.0, 7, 0]),
    ("b", "look@1", [6.0, 7, 4]),
    ("b", "say@1", [1.0, 0]),
    ("c", "say@1", [0.0, 1]),
    ("gone", "say@1", [9.0, 9]),
)


def test_averages_segments_and_standardises_over_the_catalogue():
    look = pool.pool(WORLD, ITEMS).modalities["look@1"]
    half = np.sqrt(0.5)
    np.testing.assert_allclose(look, [[-half, 0, -half], [half, 0, half], [0] * 3, [0] * 3])


def test_joined_rows_are_unit_and_modalities_weigh_alike():
    content = pool.pool(WORLD, ITEMS)
    joined = content.joined()
    assert joined.shape == (4, 5)
    np.testing.assert_allclose(np.linalg.norm(joined, axis=1), [1, 1, 1, 0], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(joined[1, :3]), np.sqrt(0.5), atol=1e-6)


def test_one_item_keeps_its_vector():
    content = pool.pool(rows(("a", "look@1", [3.0, 4])), ITEMS)
    np.testing.assert_allclose(content.modalities["look@1"][0], [0.6, 0.8])


def test_no_embeddings_give_no_modality():
    content = pool.pool(EMBEDDINGS.empty_table(), ITEMS)
    assert content.modalities == {}
    assert content.joined().shape == (4, 0)


def test_vectors_of_two_lengths_are_refused():
    with pytest.raises(ArtifactError, match="lengths"):
        pool.pool(rows(("a", "x@1", [1.0]), ("b", "x@1", [1.0, 2])), ITEMS)


@given(st.permutations(range(len(WORLD))))
def test_order_of_rows_does_not_matter(order):
    expected = pool.pool(WORLD, ITEMS).joined()
    got = pool.pool(WORLD.take(pa.array(order)), ITEMS).joined()
    np.testing.assert_allclose(got, expected, atol=1e-6)


@given(st.lists(st.integers(0, len(WORLD)), max_size=4))
def test_partition_into_parts_does_not_matter(cuts):
    edges = [0, *sorted(cuts), len(WORLD)]
    pooling = pool.Pooling(ITEMS)
    for start, stop in pairwise(edges):
        pooling.add(WORLD.slice(start, stop - start))
    got, expected = pooling.content(), pool.pool(WORLD, ITEMS)
    assert got.modalities.keys() == expected.modalities.keys()
    for name, rows_of_items in expected.modalities.items():
        np.testing.assert_array_equal(got.modalities[name], rows_of_items)


def test_parts_of_two_lengths_are_refused():
    pooling = pool.Pooling(ITEMS)
    pooling.add(rows(("a", "x@1", [1.0])))
    with pytest.raises(ArtifactError, match="lengths"):
        pooling.add(rows(("b", "x@1", [1.0, 2])))


def test_is_read_back_by_its_own_catalogue_only(tmp_path):
    workspace = Workspace(str(tmp_path))
    content = pool.pool(WORLD, ITEMS)
    with workspace.create("content", workspace.recipe({})) as draft:
        pool.save(content, draft)
    again = pool.load(workspace.open("content"), ITEMS)
    np.testing.assert_array_equal(again.joined(), content.joined())
    with pytest.raises(ArtifactError, match="another catalogue"):
        pool.load(workspace.open("content"), Vocabulary.of(["a"]))
