"""DropoutNet (Volkovs, Yu and Poutanen, NIPS 2017), as a peer where items are cold and users warm.

With factors `u` and `v` of matrix factorisation and content `c`, two networks are trained so that

    f(u) . g(v, c)  ~  u . v

where `v` is dropped, as if the item were cold, for a share of the items of a batch. A cold item is
g(0, c). The paper's networks have tanh layers with batch norm, which these have too; its users
have no content here, and are never cold.
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from avrec.arrays import Mask, Vectors
from avrec.factors import Factors, Retriever
from avrec.interactions import Histories
from avrec.models.training import seeded


class Setting(NamedTuple):
    """What is chosen on validation."""

    dropout: float
    hidden: int
    epochs: int


@dataclass(frozen=True, slots=True)
class DropoutNet:
    """The trained networks over a model of factors."""

    items: Factors
    model: Retriever
    users: nn.Module
    name: str = "dropoutnet"

    def user_vectors(self, histories: Histories) -> Vectors:
        """Of the model's own vectors of the users."""
        with torch.inference_mode():
            return np.asarray(self.users(torch.from_numpy(self.model.user_vectors(histories))))


def fit(
    model: Retriever, warm: Mask, content: Vectors, histories: Histories, setting: Setting
) -> Iterator[tuple[int, DropoutNet]]:
    """Train, and give the model after each epoch, from 1.

    Args:
        model: factors, which are dropped where items are not warm.
        warm: items that were trained.
        content: one unit vector a catalogue row.
        histories: of the users to train on.
        setting: share of dropped items, width of the hidden layers, and how long.
    """
    users = torch.from_numpy(model.user_vectors(histories))
    items = torch.from_numpy(np.where(warm[:, None], model.items.vectors, np.float32(0)))
    scale = float((users @ items[torch.from_numpy(warm)].T).std())
    told, dim = torch.from_numpy(content), users.shape[1]
    of_user = seeded(lambda: _network(dim, setting.hidden, dim), 0)
    of_item = seeded(lambda: _network(dim + told.shape[1], setting.hidden, dim), 1)
    steps = torch.optim.Adam([*of_user.parameters(), *of_item.parameters()], lr=1e-3)
    rng = torch.Generator().manual_seed(0)
    rows = torch.from_numpy(np.flatnonzero(warm))
    for epoch in range(1, setting.epochs + 1):
        of_user.train(), of_item.train()
        order = torch.randperm(len(users), generator=rng)
        for start in range(0, len(order), 256):
            mine = order[start : start + 256]
            some = rows[torch.randperm(len(rows), generator=rng)[:1024]]
            kept = torch.rand(len(some), 1, generator=rng) >= setting.dropout
            found = of_user(users[mine]) @ of_item(_joined(items[some] * kept, told[some])).T
            loss = ((found - users[mine] @ items[some].T / scale) ** 2).mean()
            steps.zero_grad()
            loss.backward()
            steps.step()
        yield epoch, _finished(of_user.eval(), of_item.eval(), model, items, told)


def _finished(
    of_user: nn.Module, of_item: nn.Module, model: Retriever, items: Tensor, told: Tensor
) -> DropoutNet:
    with torch.inference_mode():
        vectors = of_item(_joined(items, told)).numpy()
    return DropoutNet(Factors(model.items.vocabulary, vectors), model, deepcopy(of_user))


def _joined(items: Tensor, told: Tensor) -> Tensor:
    return torch.cat([items, told], dim=1)


def _network(width: int, hidden: int, dim: int) -> nn.Module:
    return nn.Sequential(
        *(nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.Tanh()),
        *(nn.Linear(hidden, hidden // 2), nn.BatchNorm1d(hidden // 2), nn.Tanh()),
        nn.Linear(hidden // 2, dim),
    )
