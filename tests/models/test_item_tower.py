"""The tower's laws, on weights at random."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from avrec.models import towers
from avrec.models.item_tower import FUSIONS, ItemTower, id_table, presence
from avrec.models.towers_net import TowersConfig
from tests.models.worlds import cut, tastes

NUM_ITEMS, WIDTHS, DIM = 7, (5, 3, 4), 8
ROWS = torch.arange(NUM_ITEMS)


def tower(fusion, widths=WIDTHS):
    """A tower none of whose weights is zero."""
    torch.manual_seed(0)
    net = ItemTower(id_table(NUM_ITEMS, DIM), widths, fusion, num_heads=2)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(std=0.4)
    return net


def content(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(NUM_ITEMS, width, generator=generator) for width in WIDTHS]


@pytest.fixture(params=FUSIONS)
def net(request):
    return tower(request.param)


@given(fusion=st.sampled_from(FUSIONS), there=st.lists(st.booleans(), min_size=3, max_size=3))
def test_values_of_what_is_missing_change_nothing(fusion, there):
    net, present = tower(fusion), torch.tensor([there] * NUM_ITEMS)
    keep = torch.ones(NUM_ITEMS, dtype=torch.bool)
    one, other = content(1), content(2)
    mixed = [a if known else b for a, b, known in zip(one, other, there, strict=True)]
    torch.testing.assert_close(net(ROWS, keep, one, present), net(ROWS, keep, mixed, present))


def test_what_is_there_changes_the_vector(net):
    keep, known = torch.ones(NUM_ITEMS, dtype=torch.bool), content()
    whole = net(ROWS, keep, known)
    for place in range(len(WIDTHS)):
        other = [content(5)[n] if n == place else known[n] for n in range(len(WIDTHS))]
        assert ((net(ROWS, keep, other) - whole).norm(dim=1) > 1e-3).all()
    assert ((net(ROWS, ~keep, known) - whole).norm(dim=1) > 1e-3).all()


def test_a_missing_modality_is_not_a_vector_of_zeros():
    """It takes no attention, and a concatenation knows that it is not there."""
    keep, known = torch.ones(NUM_ITEMS, dtype=torch.bool), content()
    known[1] = torch.zeros_like(known[1])
    there = torch.ones(NUM_ITEMS, len(WIDTHS), dtype=torch.bool)
    for fusion in ("concat", "attention"):
        net = tower(fusion)
        apart = net(ROWS, keep, known) - net(ROWS, keep, known, there)
        assert (apart.norm(dim=1) > 1e-3).all()


def test_nothing_known_gives_zeros(net):
    nothing = [torch.zeros(NUM_ITEMS, width) for width in WIDTHS]
    assert not net(ROWS, torch.zeros(NUM_ITEMS, dtype=torch.bool), nothing).any()


@pytest.mark.parametrize("fusion", ["sum", "gated", "attention"])
def test_order_of_modalities_does_not_matter(fusion):
    """Each with the weights that are its own: only a concatenation has places."""
    order, net = [2, 0, 1], tower(fusion)
    turned, state = tower(fusion, [WIDTHS[n] for n in order]), net.state_dict()
    for place, n in enumerate(order):
        state[f"project.{place}.weight"] = net.project[n].weight
    for name in ("fuse.liking", "fuse.bias", "fuse.kinds"):
        if name in state:
            state[name] = state[name][[0, *(1 + n for n in order)]]
    turned.load_state_dict(state)
    keep, known = torch.ones(NUM_ITEMS, dtype=torch.bool), content()
    known[0][:3] = 0
    torch.testing.assert_close(
        turned(ROWS, keep, [known[n] for n in order]), net(ROWS, keep, known)
    )


def test_an_item_is_the_same_in_any_company(net):
    keep, known = torch.arange(NUM_ITEMS) % 2 == 0, content()
    known[2][4:] = 0
    whole = net(ROWS, keep, known)
    for row in range(NUM_ITEMS):
        some = slice(row, row + 1)
        alone = net(ROWS[some], keep[some], [values[some] for values in known])
        torch.testing.assert_close(alone, whole[some])


def test_vectors_are_unit(net):
    vectors = net(ROWS, torch.ones(NUM_ITEMS, dtype=torch.bool), content())
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(NUM_ITEMS), atol=1e-3, rtol=0)


def test_a_tower_of_ids_alone_needs_no_content(net):
    torch.manual_seed(0)
    for fusion in FUSIONS:
        alone = ItemTower(id_table(NUM_ITEMS, DIM), (), fusion, num_heads=2)
        vectors = alone(ROWS, torch.arange(NUM_ITEMS) < 3, [])
        assert vectors[:3].any(dim=1).all()
        assert not vectors[3:].any()


def test_a_row_of_zeros_is_missing():
    values = torch.tensor([[0.0, 0.0], [0.0, 1.0], [2.0, 0.0]])
    assert presence([values, values.flip(0)], torch.arange(3)).tolist() == [
        [False, True],
        [True, True],
        [True, False],
    ]


@pytest.mark.parametrize("fusion", FUSIONS[1:])
def test_every_fusion_learns_where_cold_items_belong(fusion):
    world = tastes()
    config = TowersConfig(
        dim=16, num_heads=2, history_length=8, epochs=8, batch_size=64, fusion=fusion
    )
    model = towers.fit(cut(world.histories, 7), world.content, config, seed=1)
    scores = model.user_vectors(cut(world.histories, 7)) @ model.items.vectors.T
    for item in world.cold.nonzero()[0]:
        fans = world.taste_of_user == world.kind_of_item[item]
        assert scores[fans, item].mean() > scores[~fans, item].mean() + 0.2


def test_an_unknown_fusion_is_refused():
    with pytest.raises(ValueError, match=r"fusion must be among .* got 'mean'"):
        ItemTower(id_table(1, 4), (), "mean")
    with pytest.raises(ValueError, match=r"fusion must be among .* got 'mean'"):
        dataclasses.replace(TowersConfig(), fusion="mean")
