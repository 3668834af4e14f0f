"""Two towers: learned vectors of items from id and content, of queries from their histories.

Covington et al., RecSys 2016; Yi et al., RecSys 2019; ids are dropped at random as in DropoutNet
(Volkovs et al., NIPS 2017), so an item without history still has a place by its content.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import safetensors.torch
import torch
from torch import nn

from avrec import log
from avrec.arrays import Idx, Mask, Vectors
from avrec.embed import pool
from avrec.embed.lora_config import LoraConfig
from avrec.embed.pool import Content
from avrec.errors import ArtifactError
from avrec.factors import Factors
from avrec.index import top_k
from avrec.interactions import Histories
from avrec.metrics import ndcg
from avrec.models import askers, row_files, tables
from avrec.models.askers import ASKER, Coding
from avrec.models.more import NO_MORE, More
from avrec.models.pretrain import pieces_of, pretrain
from avrec.models.sequence_config import SequenceConfig
from avrec.models.sequences import (
    SequenceTowers,
    columns_of,
    last_vectors,
    sequence_loss,
    shape_of,
    targets_of,
)
from avrec.models.speed import Pair, compile_in_place, in_bf16
from avrec.models.towers_net import Facts, TowersConfig, TwoTowers, UserTower, in_batch_loss
from avrec.models.training import (
    ALONE,
    Batch,
    Course,
    Crew,
    Files,
    Loss,
    curve,
    learn,
    seeded,
    shuffled,
    trained,
    windows,
)
from avrec.models.tuned import Tuned, TunedModality, end
from avrec.models.user_towers import SequenceTower
from avrec.store import Artifact, Draft
from avrec.vocab import Vocabulary

logger = logging.getLogger(__name__)
NAME = "towers"
ROWS_AT_ONCE = 8192
FINE = 1e-8
"""AdamW's eps where an item's gradient is small beside that of a batch's steps."""
Net = TwoTowers | SequenceTowers


@dataclass(frozen=True, slots=True)
class Towers:
    """Trained towers: item vectors made once, and the network that reads a history.

    `curve` has the loss of each epoch, its seconds, and its score where there was a validation;
    `tuned` what became of an encoder that was trained along.
    """

    items: Factors
    user: UserTower | SequenceTower
    config: TowersConfig
    curve: tuple[Mapping[str, float], ...] = ()
    tuned: Tuned | None = None
    name: str = NAME

    def user_vectors(self, histories: Histories) -> Vectors:
        """One vector a row; with no item that has a vector, and no known profile, zeros."""
        return queries_of(self.user, self.items.vectors, histories, self.config)


def queries_of(
    user: UserTower | SequenceTower, items: Vectors, histories: Histories, config: TowersConfig
) -> Vectors:
    """Vectors of histories over the items' vectors, (num_queries, dim)."""
    if isinstance(user, SequenceTower):
        return last_vectors(user, items, histories, config)
    rows, device = padded(histories, config.history_length), user.fading.device
    known = None if user.asker is None else user.asker.coding.known(histories).to(device)
    vectors = [np.zeros((0, config.dim), np.float32)]
    for start in range(0, len(rows), ROWS_AT_ONCE):
        part = rows[start : start + ROWS_AT_ONCE]
        past = torch.from_numpy(items[np.maximum(part, 0)]).to(device)
        present = torch.from_numpy(part >= 0).to(device) & past.any(dim=2)
        told = known and known.rows(slice(start, start + ROWS_AT_ONCE))
        with torch.inference_mode():
            vectors.append(user(past * present[..., None], present, told).cpu().numpy())
    return np.concatenate(vectors)


def padded(histories: Histories, length: int) -> Idx:
    """Lay the latest items of each row out as (num_queries, length), -1 in front."""
    latest = histories.last(length)
    rows = np.full((len(latest), length), -1, np.int32)
    counts = latest.lengths()
    place = np.arange(len(latest.items)) - np.repeat(latest.offsets[1:] - length, counts)
    rows[latest.query_of_item(), place] = latest.items
    return rows


def examples(histories: Histories, config: TowersConfig, coding: Coding | None = None) -> Batch:
    """Pair every item of a history with the history strictly before it.

    Returns:
        Columns query (int32), item (int32), history (n, history_length; int32, -1 in front),
        weight (float32), at (int64), and who asks where that is learned from; items of weight 0 or
        less make no example, nor do first items, unless profiles are learned from.
    """
    query = histories.query_of_item()
    before = padded(histories.as_of(query, histories.at), config.history_length)
    kept = (before[:, -1] >= 0) | bool(config.profile)
    kept &= histories.weights > 0
    asker = {} if coding is None else {ASKER: coding.asker(histories)[query[kept]]}
    return {
        "query": query[kept],
        "item": histories.items[kept],
        "history": before[kept],
        "weight": histories.weights[kept],
        "at": histories.at[kept],
        **asker,
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


class Held(NamedTuple):
    """Users whose last item judges a run: their histories before it, one row each, and that item.

    `learned` says which items of the catalogue are in any history that is trained on.
    """

    histories: Histories
    targets: Idx
    learned: Mask


class Task(NamedTuple):
    """What there is to train on and to judge by."""

    columns: Batch
    known: Facts
    held: Held


def prepare(
    histories: Histories,
    content: Content,
    config: TowersConfig,
    more: More = NO_MORE,
) -> Task:
    """Hold the validation's items back and lay the others out for training.

    The users are drawn by their number alone, so that runs of any seed are judged alike.
    """
    able = np.flatnonzero(histories.lengths() > 2)  # noqa: PLR2004
    rng = np.random.default_rng(len(histories))
    count = min(config.validation_users, len(able))
    users = np.sort(rng.choice(able, count, replace=False)).astype(np.int32)
    last = histories.offsets[users + 1] - 1
    kept = np.ones(len(histories.items), bool)
    kept[last] = False
    past = histories.only(kept)
    judged = replace(past.take(users), asked_at=histories.at[last])
    held = Held(judged, histories.items[last], learned_ids(past, len(content.items)))
    coding = Coding.learned(past, config.profile, config.context)
    if config.user == "attention":
        columns = examples(past, config, coding)
        known = facts(past, columns, content)
    else:
        columns = columns_of(past, config, coding)
        known = facts(past, {"item": targets_of(columns)}, content)
    pieces = tuple(pieces_of(content, more.pieces)) if config.pretrain_epochs else ()
    return Task(columns, replace(known, pieces=pieces, tuning=more.tuning, coding=coding), held)


def build(known: Facts, config: TowersConfig, seed: int, crew: Crew = ALONE) -> Net:
    """Make untrained towers; the same seed makes the same, on any crew.

    Of a table of ids that is too large, they have this worker's rows.
    """
    kind = TwoTowers if config.user == "attention" else SequenceTowers
    sharing = crew if is_sharded(known, config) else None

    def made() -> Net:
        tuned = None if known.tuning is None else TunedModality(known.tuning)
        net = kind(known.num_items, known.content, config, sharing, tuned)
        net.user.asker = askers.made(known.coding, config.dim)
        return net

    net = seeded(made, seed)
    assert isinstance(net, Net)
    return net


def begin(net: Net, known: Facts, config: TowersConfig, seed: int) -> None:
    """Let the item tower learn from content alone, the same on every worker."""
    losses = list(pretrain(net.item, known.pieces, config, seed))
    if losses:
        told = log.pairs(epochs=len(losses), first=losses[0], last=losses[-1])
        logger.info("pretrained %s", told)


def is_sharded(known: Facts, config: TowersConfig) -> bool:
    """Whether each worker holds its own rows of the table of ids."""
    return tables.size_mb(known.num_items, config.dim) > config.max_table_mb


def objective(
    net: Net, known: Facts, held: Held, config: TowersConfig, seed: int
) -> Callable[[nn.Module, Crew], tuple[Loss, Course]]:
    """What is to be small, and how the run goes, of `net` wrapped for a crew."""

    def of(wrapped: nn.Module, crew: Crew) -> tuple[Loss, Course]:
        judge = partial(ndcg_of, net, held, config, crew) if len(held.targets) else None
        call = sped_up(net, wrapped, config)
        if config.user == "attention":
            loss = in_batch_loss(call, known, config, seed, crew)
            return loss, Course(judge=judge, patience=config.patience)
        loss, memory = sequence_loss(call, known, config, seed)
        course = Course(
            judge=judge,
            patience=config.patience,
            average=config.sequence.average,
            memory=memory,
            eps=FINE,
        )
        return loss, course

    return of


def sped_up(net: Net, wrapped: nn.Module, config: TowersConfig) -> Callable[..., Pair]:
    """How the loss calls `wrapped`, which is `net` or holds it."""
    if config.compile:
        compile_in_place(net.user)
    return in_bf16(wrapped, net.item.ids.weight.device) if config.precision == "bf16" else wrapped


def ndcg_of(net: Net, held: Held, config: TowersConfig, crew: Crew = ALONE) -> float:
    """ndcg@10 of the items held back, among all that are not in the history."""
    some = np.arange(crew.rank, len(held.targets), crew.size, dtype=np.int32)
    past, relevant = held.histories.take(some), Histories.of(list(held.targets[some, None]))
    vectors = item_vectors(net, held.learned)
    found = top_k(queries_of(net.user, vectors, past, config), vectors, 10, past).idx
    gains = ndcg(found == held.targets[some, None], relevant.lengths(), 10)
    return float(crew.join(torch.tensor([gains.sum()])).sum()) / len(held.targets)


def fit(
    histories: Histories,
    content: Content,
    config: TowersConfig,
    seed: int,
    more: More = NO_MORE,
) -> Towers:
    """Train in this process, on histories of one row a user."""
    columns, known, held = prepare(histories, content, config, more)
    net = build(known, config, seed)
    begin(net, known, config, seed)
    loss, course = objective(net, known, held, config, seed)(net, ALONE)
    course = replace(course, shards=tables.shards(net))
    files: Files = {}

    def batches(epoch: int) -> Iterator[Batch]:
        return shuffled(windows(columns), config.batch_size, (seed, epoch))

    for step in learn(net, loss, batches, config, course=course):
        files = step.files()
    return from_files(files, Task(columns, known, held), content, config)


def from_files(files: Files, task: Task, content: Content, config: TowersConfig) -> Towers:
    """Make the model of the files that training left, reading one worker's rows at a time."""
    learned = task.held.learned
    vectors = [np.zeros((0, config.dim), np.float32)]
    for net, rows in _parts(files, task.known, config):
        vectors.append(item_vectors(net, learned, rows))
    items = Factors(content.items, np.concatenate(vectors))
    tuned = None if net.tuned is None else end(content, net.tuned)
    return Towers(items, net.user.cpu().eval(), config, tuple(curve(files)), tuned=tuned)


def _parts(files: Files, known: Facts, config: TowersConfig) -> Iterator[tuple[Net, range]]:
    """Trained towers with each worker's rows of the table of ids, or with the whole of it."""
    spans = row_files.spans(files) or [range(known.num_items)]
    for rank in range(len(spans)):
        net = build(known, config, 0, Crew(rank, len(spans)))
        trained(net, files, tables.shards(net))
        yield net, spans[rank]


def learned_ids(histories: Histories, num_items: int) -> Mask:
    """Which items of the catalogue were in any history, so that their id has been trained."""
    return np.bincount(histories.items, minlength=num_items) > 0


def finished(net: Net, learned: Mask, content: Content, config: TowersConfig) -> Towers:
    """Make every item's vector; one that was never trained on goes by its content alone."""
    vectors = item_vectors(net, learned)
    return Towers(Factors(content.items, vectors), net.user.cpu().eval(), config)


def item_vectors(net: Net, learned: Mask, rows: range | None = None) -> Vectors:
    """Vector of some items of the catalogue, else of all; one not `learned` goes without its id."""
    rows = range(len(learned)) if rows is None else rows
    vectors = [np.zeros((0, net.item.ids.embedding_dim), np.float32)]
    for start in range(rows.start, rows.stop, ROWS_AT_ONCE):
        device, stop = net.item.ids.weight.device, min(start + ROWS_AT_ONCE, rows.stop)
        some = torch.arange(start, stop, device=device)
        with torch.inference_mode():
            keep = torch.tensor(learned[start:stop]).to(device)
            vectors.append(net.encode(some, keep).cpu().numpy())
    return np.concatenate(vectors)


def config_of(plain: Mapping[str, Any]) -> TowersConfig:
    """The configuration whose `asdict` this is."""
    sequence, added = SequenceConfig(**plain["sequence"]), LoraConfig(**plain.get("lora", {}))
    fields = {name: tuple(plain.get(name, ())) for name in ("profile", "context")}
    return TowersConfig(**{**plain, "sequence": sequence, "lora": added, **fields})


def untrained(config: TowersConfig, coding: Coding | None = None) -> UserTower | SequenceTower:
    """The user tower of a configuration, with who asks laid out as told."""
    user = (
        UserTower(config.history_length, config.dim, config.num_heads)
        if config.user == "attention"
        else SequenceTower(shape_of(config))
    )
    user.asker = askers.made(coding, config.dim)
    return user


def save(model: Towers, draft: Draft) -> None:
    """Write `towers.safetensors` and `towers.json`, and what became of a trained encoder.

    That is `content.safetensors` with what belongs to it (`avrec.embed.pool`), and what was added
    to the encoder as peft reads it, `adapter_model.safetensors` and `adapter_config.json`.
    """
    if model.tuned is not None:
        pool.save(model.tuned.content, draft)
        for name, content in model.tuned.files.items():
            draft.add(draft.place.write_part(name, content))
    tensors = {name: p.detach().numpy() for name, p in model.user.named_parameters()}
    draft.add_tensors(f"{NAME}.safetensors", {"items": model.items.vectors, **tensors})
    draft.add_json(
        f"{NAME}.json",
        {
            "config": asdict(model.config),
            "items": model.items.vocabulary.digest,
            "curve": list(model.curve),
            "asker": model.user.asker and model.user.asker.coding.plain(),
        },
    )


def load(artifact: Artifact, items: Vocabulary) -> Towers:
    """Read what `save` wrote.

    Raises:
        ArtifactError: the files are absent, altered, or made for another catalogue.
    """
    about = artifact.json(f"{NAME}.json")
    if about["items"] != items.digest:
        raise ArtifactError("the towers were trained on another catalogue; run train_towers")
    config = config_of(about["config"])
    tensors = safetensors.torch.load(artifact.bytes(f"{NAME}.safetensors"))
    vectors = tensors.pop("items").numpy()
    user = untrained(config, Coding.of(about.get("asker")))
    user.load_state_dict(tensors)
    return Towers(Factors(items, vectors), user.eval(), config, tuple(about["curve"]))
