"""Two towers: learned vectors of items from id and content, of queries from their histories.

Covington et al., RecSys 2016; Yi et al., RecSys 2019; ids are dropped at random as in DropoutNet
(Volkovs et al., NIPS 2017), so an item without history still has a place by its content.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import safetensors.torch
import torch

from avrec.arrays import Idx, Mask, Vectors
from avrec.embed.pool import Content
from avrec.errors import ArtifactError
from avrec.factors import Factors
from avrec.interactions import Histories
from avrec.models.towers_net import Facts, TowersConfig, TwoTowers, UserTower, in_batch_loss
from avrec.models.training import Batch, Files, learn, seeded, shuffled, trained, windows
from avrec.store import Artifact, Draft
from avrec.vocab import Vocabulary

NAME = "towers"
ROWS_AT_ONCE = 8192


@dataclass(frozen=True, slots=True)
class Towers:
    """Trained towers: item vectors made once, and the network that reads a history."""

    items: Factors
    user: UserTower
    config: TowersConfig
    name: str = NAME

    def user_vectors(self, histories: Histories) -> Vectors:
        """One unit vector a row; a row with no item that has a vector gives zeros."""
        rows = padded(histories, self.config.history_length)
        vectors = [np.zeros((0, self.items.dim), np.float32)]
        for start in range(0, len(rows), ROWS_AT_ONCE):
            part = rows[start : start + ROWS_AT_ONCE]
            past = torch.from_numpy(self.items.vectors[np.maximum(part, 0)])
            present = torch.from_numpy(part >= 0) & past.any(dim=2)
            with torch.inference_mode():
                vectors.append(self.user(past * present[..., None], present).numpy())
        return np.concatenate(vectors)


def padded(histories: Histories, length: int) -> Idx:
    """Lay the latest items of each row out as (num_queries, length), -1 in front."""
    latest = histories.last(length)
    rows = np.full((len(latest), length), -1, np.int32)
    counts = latest.lengths()
    place = np.arange(len(latest.items)) - np.repeat(latest.offsets[1:] - length, counts)
    rows[latest.query_of_item(), place] = latest.items
    return rows


def examples(histories: Histories, config: TowersConfig) -> Batch:
    """Pair every item of a history with the history strictly before it.

    Returns:
        Columns query (int32), item (int32), history (n, history_length; int32, -1 in front),
        weight (float32); first items and items of weight 0 or less make no example.
    """
    query = histories.query_of_item()
    before = padded(histories.as_of(query, histories.at), config.history_length)
    kept = (before[:, -1] >= 0) & (histories.weights > 0)
    return {
        "query": query[kept],
        "item": histories.items[kept],
        "history": before[kept],
        "weight": histories.weights[kept],
    }


def facts(histories: Histories, columns: Batch, content: Content) -> Facts:
    """Gather what the loss needs of the catalogue and of the users of `histories`."""
    num_items = len(content.items)
    counts = np.bincount(columns["item"], minlength=num_items).astype(np.float64)
    share = np.divide(counts, max(counts.sum(), 1))
    log_q = np.log(share, out=np.zeros(num_items), where=share > 0).astype(np.float32)
    keys = histories.query_of_item().astype(np.int64) * num_items + histories.items
    modalities = tuple(content.modalities[name] for name in sorted(content.modalities))
    return Facts(modalities, log_q, np.unique(keys))


def build(known: Facts, config: TowersConfig, seed: int) -> TwoTowers:
    """Make untrained towers; the same seed makes the same."""
    net = seeded(lambda: TwoTowers(known.num_items, known.content, config), seed)
    assert isinstance(net, TwoTowers)
    return net


def fit(histories: Histories, content: Content, config: TowersConfig, seed: int) -> Towers:
    """Train in this process, on histories of one row a user."""
    columns = examples(histories, config)
    known = facts(histories, columns, content)
    net = build(known, config, seed)
    loss = in_batch_loss(net, known, config, seed)

    def batches(epoch: int) -> Iterator[Batch]:
        return shuffled(windows(columns), config.batch_size, (seed, epoch))

    for _ in learn(net, loss, batches, config):
        pass
    return finished(net, learned_ids(histories, len(content.items)), content, config)


def from_files(
    files: Files, histories: Histories, content: Content, config: TowersConfig
) -> Towers:
    """Make the model of the files that training left."""
    known = facts(histories, {"item": histories.items}, content)
    net = trained(build(known, config, seed=0), files)
    assert isinstance(net, TwoTowers)
    return finished(net, learned_ids(histories, len(content.items)), content, config)


def learned_ids(histories: Histories, num_items: int) -> Mask:
    """Which items of the catalogue were in any history, so that their id has been trained."""
    return np.bincount(histories.items, minlength=num_items) > 0


def finished(net: TwoTowers, learned: Mask, content: Content, config: TowersConfig) -> Towers:
    """Make every item's vector; one that was never trained on goes by its content alone."""
    vectors = [np.zeros((0, config.dim), np.float32)]
    for start in range(0, len(learned), ROWS_AT_ONCE):
        rows = torch.arange(start, min(start + ROWS_AT_ONCE, len(learned)))
        with torch.inference_mode():
            keep = torch.from_numpy(learned)[rows].float()
            vectors.append(net.encode(rows, keep).cpu().numpy())
    return Towers(Factors(content.items, np.concatenate(vectors)), net.user.eval(), config)


def save(model: Towers, draft: Draft) -> None:
    """Write `towers.safetensors` and `towers.json`."""
    tensors = {name: p.detach().numpy() for name, p in model.user.named_parameters()}
    draft.add_tensors(f"{NAME}.safetensors", {"items": model.items.vectors, **tensors})
    draft.add_json(
        f"{NAME}.json",
        {"config": asdict(model.config), "items": model.items.vocabulary.digest},
    )


def load(artifact: Artifact, items: Vocabulary) -> Towers:
    """Read what `save` wrote.

    Raises:
        ArtifactError: the files are absent, altered, or made for another catalogue.
    """
    about = artifact.json(f"{NAME}.json")
    if about["items"] != items.digest:
        raise ArtifactError("the towers were trained on another catalogue; run train_towers")
    config = TowersConfig(**about["config"])
    tensors = safetensors.torch.load(artifact.bytes(f"{NAME}.safetensors"))
    vectors = tensors.pop("items").numpy()
    user = UserTower(config.history_length, config.dim, config.num_heads)
    user.load_state_dict(tensors)
    return Towers(Factors(items, vectors), user.eval(), config)
