"""Train a causal user tower on all items of a history at once.

For a window of items i_0 ... i_l, the tower's vector at step t, which has seen i_0 ... i_t, is to
find i_{t+1} among the catalogue. A batch is of windows; its loss is the mean over all their steps,
weighed by the weight of the interaction to be foretold.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from avrec.arrays import Array, Idx, Vectors
from avrec.interactions import Histories
from avrec.models.askers import ASKER, Coding, Known, known_of
from avrec.models.item_tower import ItemTower, id_table, soft_unit
from avrec.models.losses import full_softmax, gbce, sampled_softmax
from avrec.models.negatives import Negatives, Proposal, Stream
from avrec.models.steps import COLUMNS, Steps, by_length, latest_windows, steps, windows_of
from avrec.models.towers_net import Facts, TowersConfig, encode
from avrec.models.training import Batch, Crew, Loss
from avrec.models.tuned import TunedModality
from avrec.models.user_towers import SequenceTower, Shape, noise_width

ROWS_AT_ONCE = 512
Read = Callable[[Tensor, Tensor, Sequence[Steps], Known | None], tuple[Tensor, Tensor]]


def shape_of(config: TowersConfig) -> Shape:
    """The user tower that a configuration asks for."""
    return Shape(
        kind=config.user,
        dim=config.dim,
        num_heads=config.num_heads,
        num_blocks=config.sequence.num_blocks,
        history_length=config.history_length,
        dropout=config.sequence.dropout,
        with_times=config.sequence.with_times,
        with_weights=config.sequence.with_weights,
        with_kinds=config.sequence.with_kinds,
        with_shares=config.sequence.with_shares,
    )


class SequenceTowers(nn.Module):
    """Both towers over one catalogue; `content` holds (num_items, width) unit rows."""

    def __init__(
        self,
        num_items: int,
        content: Sequence[Vectors],
        config: TowersConfig,
        crew: Crew | None = None,
        tuned: TunedModality | None = None,
    ) -> None:
        super().__init__()
        self.tuned = tuned
        self.unit = config.sequence.similarity == "cosine"
        self.item = ItemTower(
            id_table(num_items, config.dim, crew),
            [modality.shape[1] for modality in content],
            config.fusion,
            config.num_heads,
            plain=not self.unit,
        )
        self.user = SequenceTower(shape_of(config))
        self.content = tuple(torch.tensor(modality) for modality in content)

    def encode(self, rows: Tensor, keep_id: Tensor) -> Tensor:
        """Vectors of catalogue rows; `keep_id` says which may use their id."""
        return encode(self.item, self.content, rows, keep_id, self.tuned)

    def forward(
        self,
        rows: Tensor,
        keep_id: Tensor,
        groups: Sequence[Steps],
        opening: Known | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Vectors at every step of the groups, one after the other, and those of the items.

        After the groups come those who have taken to nothing yet, where there are any.

        Args:
            rows: catalogue rows that the groups' `items` are places of.
            keep_id: which of them may use their id.
            groups: windows of like length.
            opening: what is known of those without a history.
        """
        device = self.item.ids.weight.device
        vectors = self.encode(rows.to(device), keep_id.to(device))
        found = [read(self.user, vectors, group.to(device), unit=self.unit) for group in groups]
        if opening is not None:
            found.append(opened(self.user, opening.to(device), unit=self.unit))
        return torch.cat(found), vectors


def read(user: SequenceTower, vectors: Tensor, group: Steps, *, unit: bool) -> Tensor:
    """Vectors (num_steps, dim) at the steps of a group that are no padding, row by row."""
    items = nn.functional.embedding(group.items, vectors)
    queries = user(items, group)[group.present]
    return soft_unit(queries) if unit else queries


def opened(user: SequenceTower, known: Known, *, unit: bool) -> Tensor:
    """Vectors (n, dim) of those without a history."""
    queries = user.opening(known)
    return soft_unit(queries) if unit else queries


def last_vectors(
    user: SequenceTower, items: Vectors, histories: Histories, config: TowersConfig
) -> Vectors:
    """The vector at the last step of each history; none for items without a vector.

    A row that has no item with a vector, nor any field of a profile, gives zeros.
    """
    known = np.asarray(items.any(axis=1))[histories.items]
    columns = dict(latest_windows(histories.only(known), config.history_length))
    lengths = (columns["items"] >= 0).sum(axis=1)
    queries = np.zeros((len(histories), items.shape[1]), np.float32)
    device, unit = user.norm.weight.device, config.sequence.similarity == "cosine"
    table = torch.from_numpy(items).to(device)
    if user.asker is not None:
        columns |= user.asker.coding.columns(histories)
        new = np.flatnonzero((lengths == 0) & columns["profile"].any(axis=1))
        told = known_of({name: columns[name][new] for name in ("profile", "context")})
        with torch.inference_mode():
            queries[new] = opened(user, told.to(device), unit=unit).cpu().numpy()
    full = np.flatnonzero(lengths).astype(np.int32)
    for rows in by_length(lengths[full]):
        for start in range(0, len(rows), ROWS_AT_ONCE):
            part = full[rows[start : start + ROWS_AT_ONCE]]
            group = _steps(columns, part, lengths, config).to(device)
            with torch.inference_mode():
                every = read(user, table, group, unit=unit).cpu().numpy()
            queries[part] = every[np.cumsum(lengths[part]) - 1]
    return queries


def columns_of(histories: Histories, config: TowersConfig, coding: Coding | None = None) -> Batch:
    """Windows to train on, as `windows_of` has them, with who asks."""
    columns = windows_of(histories, config.history_length + 1, config.sequence.max_windows)
    if coding is None:
        return columns
    return {**columns, ASKER: coding.asker(histories)[columns["query"]]}


def targets_of(columns: Mapping[str, Array]) -> Idx:
    """Items that the steps are to foretell."""
    items: Idx = columns["items"][:, 1:]
    return items[(items >= 0) & (columns["marks"][:, 1:] > 0)]


def _steps(
    columns: Mapping[str, Array],
    rows: Idx,
    lengths: Array,
    config: TowersConfig,
    noise: Array | None = None,
) -> Steps:
    from_start = config.sequence.places == "start"
    return steps(columns, rows, lengths, config.history_length, noise, from_start=from_start)


class _Windows(NamedTuple):
    """One worker's windows of a batch, by groups; targets and weights one a step.

    Behind them stand those of `opening`, what is known of whom before their first items.
    """

    groups: list[Steps]
    targets: Idx
    weights: Array
    opening: Known | None = None


def _windows(
    batch: Batch,
    own: slice,
    config: TowersConfig,
    noise: Array | None,
    told: Mapping[str, Array] | None = None,
) -> _Windows:
    """Cut one's own rows into what is read and what is to be foretold.

    `told` has who asks, and when, at every item of the windows: a step reads when the next one
    came.
    """
    mine = {name: batch[name][own] for name in (*COLUMNS, "weight")}
    inputs = {name: mine[name][:, :-1] for name in COLUMNS}
    if told is not None:
        inputs |= {"profile": told["profile"], "context": told["context"][:, 1:]}
    lengths = np.maximum((mine["items"] >= 0).sum(axis=1) - 1, 0)
    groups, targets, weights = [], [], []
    for rows in by_length(lengths):
        group = _steps(inputs, rows, lengths, config, noise)
        present = group.present.numpy()
        ahead = slice(1, 1 + present.shape[1])
        groups.append(group)
        targets.append(mine["items"][rows, ahead][present])
        weights.append(
            (mine["marks"][rows, ahead].clip(min=0) * mine["weight"][rows, None])[present]
        )
    made = _Windows(groups, np.concatenate(targets), np.concatenate(weights))
    return made if told is None else _opened(made, mine, batch["opens"][own], told)


def _opened(
    made: _Windows, mine: Mapping[str, Array], opens: Array, told: Mapping[str, Array]
) -> _Windows:
    """Add the first items of histories, to be foretold from who asks alone."""
    rows = np.flatnonzero(opens)
    weights = mine["marks"][rows, 0].clip(min=0) * mine["weight"][rows]
    known = known_of({"profile": told["profile"][rows], "context": told["context"][rows, :1]})
    return _Windows(
        made.groups,
        np.concatenate([made.targets, mine["items"][rows, 0]]),
        np.concatenate([made.weights, weights]),
        known,
    )


def sequence_loss(
    net: Read, facts: Facts, config: TowersConfig, seed: int
) -> tuple[Loss, Mapping[str, Array]]:
    """Make the loss, and the arrays that it remembers; `net` is `SequenceTowers`, or wraps it."""
    droppable = facts.with_content()
    stream = Stream(facts.num_items) if config.sequence.frequencies == "stream" else None

    def loss(batch: Batch, own: slice, at: tuple[int, int]) -> Tensor:
        rng = np.random.default_rng([seed, *at])
        dropped = (rng.random(facts.num_items) < config.id_dropout) & droppable
        noise, told = _noise(batch, own, config, rng), None
        if facts.coding is not None:
            told = facts.coding.forgetful(batch, own, config.field_dropout, rng)
        mine = _windows(batch, own, config, noise, told)
        drawn = _draw(batch, facts, config, stream, rng)
        rows = np.arange(facts.num_items) if drawn is None else _needed(batch["items"][own], drawn)
        groups = [group._replace(items=_places(rows, group.items)) for group in mine.groups]
        keep = torch.from_numpy(~dropped[rows])
        queries, vectors = net(torch.from_numpy(rows), keep, groups, mine.opening)
        step = _Step(queries, vectors, *_tensors(rows, mine, drawn, vectors.device))
        return _value(step, config, facts.num_items) / _total(batch)

    return loss, stream.state() if stream else {}


class _Step(NamedTuple):
    """What the head of a batch reads; `targets` and `negatives` are rows of `items`."""

    queries: Tensor
    items: Tensor
    targets: Tensor
    weights: Tensor
    negatives: Tensor | None
    log_expected: Tensor | None


def _tensors(
    rows: Array, mine: _Windows, drawn: Negatives | None, device: torch.device
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    places = torch.from_numpy(np.searchsorted(rows, mine.targets)).to(device)
    weights = torch.from_numpy(mine.weights).to(device)
    if drawn is None:
        return places, weights, None, None
    negatives = torch.from_numpy(np.searchsorted(rows, drawn.items)).to(device)
    return places, weights, negatives, torch.from_numpy(drawn.log_expected).to(device)


def _value(step: _Step, config: TowersConfig, num_items: int) -> Tensor:
    """Sum of the weighed losses of the steps."""
    unit = config.sequence.similarity == "cosine"
    queries = step.queries / config.temperature if unit else step.queries
    if step.negatives is None or step.log_expected is None:
        return full_softmax(queries, step.items, step.targets, step.weights)
    chosen = nn.functional.embedding(step.targets, step.items)
    positive = (queries * chosen).sum(dim=1)
    negative = queries @ nn.functional.embedding(step.negatives, step.items).T
    same = step.targets[:, None] == step.negatives
    if config.sequence.loss == "sampled":
        return sampled_softmax(positive, negative, same, step.log_expected, step.weights)
    calibration = config.sequence.calibration
    return gbce(positive, negative, same, calibration, num_items, step.weights)


def _total(batch: Batch) -> float:
    """Weight of all steps of a batch, those of all workers."""
    weights = batch["marks"].clip(min=0) * batch["weight"][:, None]
    weights[:, 0] *= batch["opens"] if ASKER in batch else 0
    return float(max(weights.sum(dtype=np.float64), 1e-12))


def _noise(
    batch: Batch, own: slice, config: TowersConfig, rng: np.random.Generator
) -> Array | None:
    """Noise of one's own rows, out of that of the whole batch."""
    width = noise_width(shape_of(config))
    longest = int((batch["items"] >= 0).sum(axis=1).max()) - 1
    shape = int(batch["row"].max()) + 1, longest, width
    if not width:
        return None
    every = np.frombuffer(rng.bytes(int(np.prod(shape))), np.uint8).reshape(shape)
    return every[batch["row"][own]]


def _draw(
    batch: Batch,
    facts: Facts,
    config: TowersConfig,
    stream: Stream | None,
    rng: np.random.Generator,
) -> Negatives | None:
    """Negatives of a batch, the same for all workers; None where the loss needs none."""
    sequence = config.sequence
    if sequence.loss == "softmax":
        return None
    first_of_rows = np.unique(batch["row"], return_index=True)[1]
    targets = targets_of({name: batch[name][first_of_rows] for name in ("items", "marks")})
    if stream is not None:
        stream.see(targets)
    shares = stream.shares() if stream is not None else facts.shares()
    proposal = Proposal(
        kind=sequence.negatives, count=sequence.num_negatives, share=sequence.batch_share
    )
    drawn = proposal.draw(shares, targets, rng)
    if sequence.frequencies == "none":
        return drawn._replace(log_expected=np.zeros_like(drawn.log_expected))
    return drawn


def _needed(items: Idx, drawn: Negatives) -> Array:
    """Catalogue rows that a step looks at, ascending."""
    rows: Array = np.unique(np.concatenate([items.clip(min=0).ravel(), drawn.items]))
    return rows.astype(np.int64)


def _places(rows: Array, items: Tensor) -> Tensor:
    """Where catalogue rows stand among `rows`; padding stands first."""
    place = torch.searchsorted(torch.from_numpy(rows), items)
    return place.clamp_(max=len(rows) - 1)
