"""The two towers as torch networks, and the loss that trains them.

An item's vector comes from its id and its content, a query's from the items of its history; both
are unit vectors of one space. For a batch of (history, next item) pairs the loss is the softmax
cross entropy over the items of the batch, with logits

    u_i . v_j / temperature - log Q(j)

where Q(j) is how often j is drawn as a target, which takes the batch's own popularity out
(Yi et al., RecSys 2019). A target that the user took to at some other time is no negative.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from avrec.arrays import Array, Idx, Mask, Scores, Values, Vectors
from avrec.embed.lora_config import LoraConfig
from avrec.models import askers
from avrec.models.askers import Asker, Coding, Known, known_of
from avrec.models.item_tower import FUSIONS, ItemTower, id_table, soft_unit
from avrec.models.sequence_config import USERS, SequenceConfig
from avrec.models.speed import PRECISIONS
from avrec.models.training import ALONE, Batch, Crew, Loss, check
from avrec.models.tuned import TunedModality, Tuning


@dataclass(frozen=True, kw_only=True, slots=True)
class TowersConfig:
    """How to build and train the towers."""

    dim: int = 48
    """Length of a vector."""
    num_heads: int = 4
    """Heads of the attention over the history; divides `dim`."""
    fusion: str = "sum"
    """How an item's id, modalities and fields become one: "sum", "concat", "gated" (a weighed sum)
    or "attention" (over modalities, with `num_heads`)."""
    history_length: int = 30
    """Latest items of a history that the user tower reads."""
    id_dropout: float = 0.5
    """Share of the items that a batch knows by their content alone, so that content can carry
    the items that have no history."""
    temperature: float = 0.1
    """Divides cosines into logits; smaller is sharper."""
    epochs: int = 8
    """Passes over the examples."""
    batch_size: int = 256
    """Examples of a global batch; all of their items are one another's negatives."""
    learning_rate: float = 0.002
    """Step size of AdamW."""
    weight_decay: float = 0.01
    """Decoupled L2 penalty of AdamW."""
    user: str = "attention"
    """User tower: "attention", which learns from pairs of a history and its next item, or one that
    learns from all items of a history at once: "sasrec", "ligr", "hstu", "gru", "conv", "mean"."""
    validation_users: int = 0
    """Users whose last item is not learned from but judges each epoch; the best one is kept."""
    patience: int = 0
    """Epochs without a better ndcg@10 of those after which training ends; 0 trains all epochs."""
    pretrain_epochs: int = 0
    """Passes over the items before that, in which the item tower learns from content alone which
    segments are of one item (`avrec.models.pretrain`)."""
    precision: str = "float32"
    """What the networks multiply in while they are trained: "float32" or "bf16". Weights, losses
    and what is made with the trained towers are float32."""
    compile: bool = False
    """Whether torch compiles the user tower, which takes a minute and pays on a GPU."""
    max_table_mb: int = 4096
    """Size of the table of ids, in MiB, up to which every worker holds it whole; of a larger one
    each holds its own rows. Training takes some five times that, and a loss over the whole
    catalogue, or a validation, gathers the whole table again."""
    profile: tuple[str, ...] = ()
    """Fields of USERS that the user tower learns from, such as sex, age band or country; somebody
    of whom one is known gets a vector even without a history."""
    context: tuple[str, ...] = ()
    """What of the moment of a request the user tower learns from: "hour", "weekday"."""
    field_dropout: float = 0.1
    """Share of the fields of `profile` and `context` that training takes for unknown, so that it
    learns what to do where they are."""
    lora: LoraConfig = field(default_factory=LoraConfig)
    """Section `[towers.lora]`."""
    sequence: SequenceConfig = field(default_factory=SequenceConfig)
    """Section `[towers.sequence]`, for all user towers but "attention"."""

    def __post_init__(self) -> None:
        check(self)
        allowed_of = {"user": USERS, "fusion": FUSIONS, "precision": PRECISIONS}
        for name, allowed in allowed_of.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be among {allowed}, got {getattr(self, name)!r}")
        for name in ("validation_users", "patience", "pretrain_epochs", "max_table_mb"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        for name in ("dim", "num_heads", "history_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.dim % self.num_heads:
            raise ValueError(f"dim must be a multiple of num_heads, got {self.dim}")
        askers.check(self.profile, self.context)
        self._check_ranges()

    def _check_ranges(self) -> None:
        for name in ("id_dropout", "field_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if not self.temperature > 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}")


class UserTower(nn.Module):
    """From the vectors of a history, oldest first and padded in front, to the query's vector.

    A mean that has learned how fast items fade, plus what attention finds in them.
    """

    asker: Asker | None

    def __init__(self, history_length: int, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.places = nn.Parameter(0.02 * torch.randn(history_length, dim))
        self.fading = nn.Parameter(torch.zeros(history_length))
        self.query = nn.Linear(2 * dim, dim, bias=False)
        self.key = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, dim, bias=False)
        self.mix = nn.Sequential(nn.Linear(2 * dim, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, dim))
        self.asker = None

    def forward(self, items: Tensor, present: Tensor, known: Known | None = None) -> Tensor:
        """Vectors (n, dim) from items (n, history_length, dim).

        None present, and no field of a profile known, gives zeros.
        """
        weights = functional.softmax(self.fading.masked_fill(~present, -1e9), dim=1)
        mean = torch.einsum("nl,nld->nd", weights, items)
        x = items + self.places
        found = self._attend(self.query(torch.cat([mean, x[:, -1]], dim=1)), x, present)
        vectors = mean + self.mix(torch.cat([mean, found], dim=1))
        there = present.any(dim=1, keepdim=True)
        if self.asker is not None:
            assert known is not None
            vectors = torch.where(there, vectors, self.asker.nobody)
            counts = present.sum(dim=1, keepdim=True)
            vectors = self.asker(vectors[:, None], counts, known)[:, 0]
            there = there | known.profile.any(dim=1, keepdim=True)
        return soft_unit(vectors) * there

    def _attend(self, query: Tensor, x: Tensor, present: Tensor) -> Tensor:
        split = (len(x), -1, self.num_heads, x.shape[2] // self.num_heads)
        q, k, v = (y.reshape(split).transpose(1, 2) for y in (query, self.key(x), self.value(x)))
        mask = present[:, None, None, :] | ~present.any(dim=1)[:, None, None, None]
        found = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return found.transpose(1, 2).reshape(len(x), -1)


class TwoTowers(nn.Module):
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
        widths = [modality.shape[1] for modality in content]
        ids = id_table(num_items, config.dim, crew)
        self.item = ItemTower(ids, widths, config.fusion, config.num_heads)
        self.user = UserTower(config.history_length, config.dim, config.num_heads)
        # Not buffers: those would be sent to every worker at every step.
        self.content = tuple(torch.tensor(modality) for modality in content)

    def encode(self, rows: Tensor, keep_id: Tensor) -> Tensor:
        """Vectors of catalogue rows; `keep_id` says which may use their id."""
        return encode(self.item, self.content, rows, keep_id, self.tuned)

    def forward(
        self, history: Tensor, item: Tensor, keep_id: Tensor, known: Known | None = None
    ) -> tuple[Tensor, Tensor]:
        """Vectors of the queries and of their next items.

        Args:
            history: catalogue rows (n, history_length), -1 for padding.
            item: catalogue rows (n).
            keep_id: one truth an item of the catalogue.
            known: of who asks, and when.
        """
        device = self.user.fading.device
        history, item, keep_id = history.to(device), item.to(device), keep_id.to(device)
        present = history >= 0
        every, place = torch.unique(
            torch.cat([history.clamp(min=0).ravel(), item]), return_inverse=True
        )
        vectors = self.encode(every, keep_id[every])
        past = vectors[place[: history.numel()]].view(*history.shape, -1) * present[..., None]
        told = None if known is None else known.to(device)
        return self.user(past, present, told), vectors[place[history.numel() :]]


def encode(
    item: ItemTower,
    content: Sequence[Tensor],
    rows: Tensor,
    keep_id: Tensor,
    tuned: TunedModality | None = None,
) -> Tensor:
    """Vectors of catalogue rows, whose content is looked up where it lies, or made by `tuned`."""
    looked_up = [modality[rows.cpu()].to(rows.device) for modality in content]
    if tuned is not None:
        looked_up[tuned.place] = tuned(rows)
    vectors: Tensor = item(rows, keep_id, looked_up)
    return vectors


@dataclass(frozen=True, slots=True)
class Facts:
    """What the loss knows of the catalogue and the users.

    `content` holds the modalities, (num_items, width) each; `log_q` the log share of each item
    among the targets, 0 for an item that is never one; `positives` the sorted keys
    query * num_items + item of all that users took to. `pieces` are the pieces of each modality,
    where they are to be learned from first; `tuning` is of the modality that is trained, if any;
    `coding` lays out who asks, where that is learned from.
    """

    content: tuple[Vectors, ...]
    log_q: Scores
    positives: Array
    pieces: tuple[Vectors, ...] = ()
    tuning: Tuning | None = None
    coding: Coding | None = None

    @property
    def num_items(self) -> int:
        """Rows of the catalogue."""
        return len(self.log_q)

    def shares(self) -> Values:
        """How likely each item is to be a target, above 0: one that never was, like the rarest."""
        counted = self.log_q[self.log_q < 0]
        rarest = counted.min() if len(counted) else 0
        return np.exp(np.where(self.log_q < 0, self.log_q, rarest), dtype=np.float64)

    def with_content(self) -> Mask:
        """Which items have any content."""
        known = np.zeros(self.num_items, bool)
        for modality in self.content:
            known |= modality.any(axis=1)
        return known

    def took_to(self, query: Array, item: Idx) -> Mask:
        """Tell for each pair (query, item), shape (n, m), whether the query took to the item."""
        keys = query.astype(np.int64)[:, None] * self.num_items + item[None, :]
        if not len(self.positives):
            return np.zeros(keys.shape, bool)
        place = np.searchsorted(self.positives, keys)
        return np.asarray(self.positives[np.minimum(place, len(self.positives) - 1)] == keys)


def in_batch_loss(
    net: Callable[[Tensor, Tensor, Tensor, Known | None], tuple[Tensor, Tensor]],
    facts: Facts,
    config: TowersConfig,
    seed: int,
    crew: Crew = ALONE,
) -> Loss:
    """Make the loss of this module's head; `net` is `TwoTowers`, or a wrapping of it."""
    droppable = facts.with_content()

    def loss(batch: Batch, own: slice, at: tuple[int, int]) -> Tensor:
        rng = np.random.default_rng([seed, *at])
        dropped = (rng.random(facts.num_items) < config.id_dropout) & droppable
        mine = {name: values[own] for name, values in batch.items()}
        history, item = torch.from_numpy(mine["history"]), torch.from_numpy(mine["item"])
        known = None
        if facts.coding is not None:
            known = known_of(facts.coding.forgetful(batch, own, config.field_dropout, rng))
        users, items = net(history.long(), item.long(), torch.from_numpy(~dropped), known)
        logits = users @ crew.join(items).T / config.temperature
        logits = logits - torch.from_numpy(facts.log_q[batch["item"]]).to(logits.device)
        excluded = torch.from_numpy(_no_negatives(batch, own, facts)).to(logits.device)
        target = torch.arange(own.start, own.stop, device=logits.device)
        losses = functional.cross_entropy(
            logits.masked_fill(excluded, -1e9), target, reduction="none"
        )
        weight = torch.from_numpy(mine["weight"]).to(losses)
        return (losses * weight).sum() / float(batch["weight"].sum())

    return loss


def _no_negatives(batch: Batch, own: slice, facts: Facts) -> Mask:
    """Columns that count neither as target nor as negative: known positives and padding."""
    excluded = facts.took_to(batch["query"][own], batch["item"])
    excluded |= batch["item"][own][:, None] == batch["item"][None, :]
    excluded |= (batch["weight"] == 0)[None, :]
    excluded[np.arange(len(excluded)), np.arange(own.start, own.stop)] = False
    return excluded
