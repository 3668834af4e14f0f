import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from avrec.arrays import unit
from avrec.embed.pool import Content
from avrec.models import towers
from avrec.models.item_tower import FUSIONS
from avrec.models.more import More
from avrec.models.pretrain import able, encoded, info_nce, pieces_of, pretrain, read, views
from avrec.models.sequence_config import SequenceConfig
from avrec.models.towers_net import TowersConfig
from avrec.schema import EMBEDDINGS
from avrec.store import Recipe, Workspace
from avrec.vocab import Vocabulary
from tests.models.worlds import tastes

NUM_ITEMS, NUM_KNOWN = 160, 120
CONFIG = TowersConfig(
    dim=16, num_heads=2, epochs=1, batch_size=40, learning_rate=0.01, pretrain_epochs=30
)


def clips(num_items=NUM_ITEMS, seed=0):
    """Four pieces that look like an item of four traits under noise ten times as strong."""
    rng = np.random.default_rng(seed)
    traits = rng.normal(size=(num_items, 4))
    look = traits @ rng.normal(size=(4, 24))
    noise = rng.normal(size=(num_items, 4, 3)) @ rng.normal(size=(3, 24))
    said = traits @ rng.normal(size=(4, 8)) + 0.1 * rng.normal(size=(num_items, 8))
    seen = look[:, None] + 3 * noise
    return [unit(seen.astype(np.float32)), unit(said.astype(np.float32))[:, None]]


def net_of(pieces, config=CONFIG):
    content = tuple(unit(modality.mean(axis=1)) for modality in pieces)
    known = towers.Facts(content, np.zeros(len(content[0]), np.float32), np.zeros(0, np.int64))
    return towers.build(known, config, seed=0).item


def found(item, pieces, rows):
    """Share of the items whose second view is nearest to their first."""
    with torch.no_grad():
        one, other = encoded(item, rows, views(pieces, rows, np.random.default_rng(9)))
    return float(((one @ other.T).argmax(dim=1) == torch.arange(len(rows))).float().mean())


@pytest.mark.parametrize("fusion", FUSIONS)
def test_views_of_items_never_seen_before_find_each_other(fusion):
    pieces = clips()
    later = np.arange(NUM_KNOWN, NUM_ITEMS, dtype=np.int32)
    item = net_of(pieces, dataclasses.replace(CONFIG, fusion=fusion))
    before = found(item, pieces, later)
    losses = list(pretrain(item, [p[:NUM_KNOWN] for p in pieces], CONFIG, seed=0))
    after = found(item, pieces, later)
    assert losses[-1] < losses[0] / 2
    assert after > 0.7
    assert after > before + 0.2


def test_ids_are_left_as_they_were_and_a_seed_gives_the_same():
    pieces = clips(40)
    first, second, other = (net_of(pieces) for _ in range(3))
    ids = first.ids.weight.detach().clone()
    config = dataclasses.replace(CONFIG, pretrain_epochs=2)
    for item, seed in ((first, 1), (second, 1), (other, 2)):
        list(pretrain(item, pieces, config, seed))
    torch.testing.assert_close(first.ids.weight.detach(), ids, rtol=0, atol=0)
    torch.testing.assert_close(first.project[0].weight, second.project[0].weight, rtol=0, atol=0)
    assert not torch.equal(first.project[0].weight, other.project[0].weight)


@given(there=st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=6))
def test_each_piece_is_in_one_view_and_both_have_half(there):
    there = np.array(there)
    look = np.eye(5, dtype=np.float32)[None, :4] * there[:, :4, None]
    said = np.eye(5, dtype=np.float32)[None, 4:] * there[:, 4:, None]
    rows = np.arange(len(there), dtype=np.int32)
    dealt = views([look, said], rows, np.random.default_rng(0))
    held = [sum(part > 0 for part in view) for view in dealt]  # which pieces, by their place
    np.testing.assert_array_equal(held[0] + held[1], there)
    counts = [hand.sum(axis=1) for hand in held]
    assert (abs(counts[0] - counts[1]) <= 1).all()
    assert able([look, said]).tolist() == np.flatnonzero(there.sum(axis=1) > 1).tolist()


def test_loss_is_that_of_both_ways():
    one, other = torch.eye(3)[:, :2], torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    logits = (one @ other.T / 0.5).numpy()
    expected = [np.log(np.exp(m).sum(axis=1)) - np.diag(m) for m in (logits, logits.T)]
    assert float(info_nce(one, other, 0.5)) == pytest.approx(np.mean(expected), rel=1e-5)


def test_items_of_one_piece_teach_nothing():
    alone = [np.ones((3, 1, 4), np.float32)]
    assert list(pretrain(net_of(alone), alone, CONFIG, seed=0)) == []


def test_towers_of_ids_alone_have_nothing_to_pretrain():
    """Not even a parameter, where vectors are of any length."""
    world = tastes()
    sequence = SequenceConfig(num_blocks=1, similarity="dot")
    config = dataclasses.replace(CONFIG, user="mean", history_length=8, sequence=sequence)
    model = towers.fit(world.histories, Content(world.content.items, {}), config, 0)
    assert len(model.curve) == 1


def test_towers_begin_with_what_was_pretrained():
    world = tastes()
    config = dataclasses.replace(CONFIG, pretrain_epochs=0, history_length=8)
    noise = np.random.default_rng(0).normal(size=(48, 2, 8))
    pieces = unit(world.content.modalities["planted@1"][:, None] + 0.1 * noise.astype(np.float32))

    def vectors(pretrain_epochs, known=None):
        some = dataclasses.replace(config, pretrain_epochs=pretrain_epochs)
        more = More(known or {})
        return towers.fit(world.histories, world.content, some, 0, more).items.vectors

    plain, begun = vectors(0), vectors(20, {"planted@1": pieces})
    assert np.abs(begun - plain).max() > 0.1
    np.testing.assert_array_equal(vectors(0, {"planted@1": pieces}), plain)
    np.testing.assert_array_equal(vectors(20), plain)  # one piece an item teaches nothing


def test_a_modality_without_segments_is_one_piece():
    vectors = np.eye(3, dtype=np.float32)
    content = Content(Vocabulary.of(["a", "b", "c"]), {"x": vectors, "field/tags": vectors})
    tags, x = pieces_of(content, {"x": np.zeros((3, 4, 3), np.float32)})
    assert tags.shape == (3, 1, 3)
    assert x.shape == (3, 4, 3)


def test_nothing_is_read_where_nothing_is_pretrained(tmp_path):
    workspace = Workspace(str(tmp_path))
    content = Content(Vocabulary.of(["a"]), {})
    assert read(workspace, content, dataclasses.replace(CONFIG, pretrain_epochs=0)) == {}
    workspace.write_table("embeddings", EMBEDDINGS.empty_table(), EMBEDDINGS, Recipe({}, {}))
    assert read(workspace, content, CONFIG) == {}
