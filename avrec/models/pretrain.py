"""Learn an item tower from content alone, before anybody has taken to anything.

What is known of an item comes in pieces: some of the segments of one modality each. Two views of
an item are two sets of its pieces, drawn anew for every batch, and go through the tower without
its id. A view is to find the other view of its item among those of the batch, by

    -log( exp(a_i . b_i / temperature) / sum_j exp(a_i . b_j / temperature) )

and the same from b to a (InfoNCE; van den Oord et al., 2018, in the symmetric form of CLIP).
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from avrec.arrays import Idx, Mask, Vectors, unit
from avrec.embed import pieces as embedded
from avrec.embed.pool import Content
from avrec.models.item_tower import ItemTower, soft_unit
from avrec.models.towers_net import TowersConfig
from avrec.schema import EMBEDDINGS
from avrec.store import Workspace

SOURCE = "embeddings"
NUM_PIECES = 4
"""Pieces that the segments of an item are dealt into, so that no more than their means are held."""
Pieces = Sequence[Vectors]
"""Of each modality (num_items, num_pieces, width); a row of zeros is a piece that is not there."""


def read(workspace: Workspace, content: Content, config: TowersConfig) -> dict[str, Vectors]:
    """Pieces of each encoder, from the segments in the workspace; none where none are needed."""
    if not config.pretrain_epochs:
        return {}
    found = workspace.open(SOURCE)
    parts = (found.table(name, EMBEDDINGS) for name in found.names("part-"))
    return embedded.pieces(parts, content, NUM_PIECES)


def pieces_of(content: Content, known: Mapping[str, Vectors]) -> Pieces:
    """Of each modality its pieces, in the order of names; one that has none is one piece."""
    names = sorted(content.modalities)
    return [known.get(name, content.modalities[name][:, None]) for name in names]


class Views(NamedTuple):
    """Two views of some items: of each modality (n, width), zeros where a view lacks it."""

    first: list[Vectors]
    second: list[Vectors]


def views(pieces: Pieces, rows: Idx, rng: np.random.Generator) -> Views:
    """Deal the pieces of each item into two hands; both have one at least, where there are two."""
    there = [modality[rows].any(axis=2) for modality in pieces]
    hands = _dealt(np.concatenate(there, axis=1), rng)
    bounds = np.cumsum([0, *(mask.shape[1] for mask in there)])
    spans = list(pairwise(bounds))
    one, other = (
        [
            _mean(modality[rows], hand[:, start:stop])
            for modality, (start, stop) in zip(pieces, spans, strict=True)
        ]
        for hand in hands
    )
    return Views(one, other)


def _dealt(there: Mask, rng: np.random.Generator) -> tuple[Mask, Mask]:
    """Every other one of the pieces that are there, (n, num_pieces), in an order drawn by item."""
    drawn = np.where(there, rng.random(there.shape), np.inf)
    place = drawn.argsort(axis=1).argsort(axis=1)
    turn = rng.integers(0, 2, (len(there), 1))
    return there & (place % 2 == turn), there & (place % 2 != turn)


def _mean(vectors: Vectors, chosen: Mask) -> Vectors:
    """Unit mean of the chosen pieces; zeros for none."""
    return unit((vectors * chosen[..., None]).sum(axis=1))


def able(pieces: Pieces) -> Idx:
    """Items that have two pieces or more."""
    num_pieces = sum(modality.any(axis=2).sum(axis=1) for modality in pieces)
    return np.flatnonzero(np.asarray(num_pieces) > 1).astype(np.int32)


def pretrain(item: ItemTower, pieces: Pieces, config: TowersConfig, seed: int) -> Iterator[float]:
    """Train `item` in place, but for its ids; gives the mean loss of each epoch."""
    rows = able(pieces)
    if not len(rows):
        return
    learned = [p for name, p in item.named_parameters() if not name.startswith("ids.")]
    optimiser = torch.optim.AdamW(
        learned, lr=config.learning_rate, weight_decay=config.weight_decay
    )
    for epoch in range(config.pretrain_epochs):
        losses = []
        for step, batch in enumerate(_batches(rows, config.batch_size, (seed, epoch))):
            rng = np.random.default_rng([seed, epoch, step])
            loss = info_nce(*encoded(item, batch, views(pieces, batch, rng)), config.temperature)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            losses.append(loss.item())
        yield float(np.mean(losses))


def _batches(rows: Idx, batch_size: int, seed: tuple[int, int]) -> Iterator[Idx]:
    order = np.random.default_rng(seed).permutation(rows)
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def encoded(item: ItemTower, rows: Idx, seen: Views) -> tuple[Tensor, Tensor]:
    """Unit vectors (n, dim) of both views, without ids."""
    device = item.ids.weight.device
    at = torch.from_numpy(rows).long().to(device)
    nobody = torch.zeros(len(rows), dtype=torch.bool, device=device)
    one, other = (
        soft_unit(item(at, nobody, [torch.from_numpy(v).to(device) for v in view])) for view in seen
    )
    return one, other


def info_nce(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """The loss above, the mean of both ways over the rows."""
    logits = one @ other.T / temperature
    same = torch.arange(len(one), device=one.device)
    there = functional.cross_entropy(logits, same)
    return (there + functional.cross_entropy(logits.T, same)) / 2
