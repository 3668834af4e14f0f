"""Causal user towers: from the items of a history to a vector at each of its steps.

The vector at a step knows that step and those before it, so one reading of a history trains on
all of its items. Towers differ in their blocks, each of which maps (n, length, dim) to the same:

* "sasrec": causal self-attention and a feed-forward layer, normed before (Kang and McAuley, ICDM
  2018, in the pre-norm form).
* "ligr":   the same, each part let in through a learned gate, the feed-forward layer a SwiGLU
  (Borisyuk et al., LiGR, 2025; eSASRec, Tikhonovich et al., RecSys 2025).
* "hstu":   gated pointwise attention, no softmax, with biases of relative place and of relative
  time (Zhai et al., ICML 2024).
* "gru":    a recurrent layer (Hidasi et al., ICLR 2016).
* "conv":   1-D causal convolutions, dilated ever more (Yuan et al., NextItNet, WSDM 2019).
* "mean":   the mean of the items so far.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from avrec.models.askers import Asker, Known
from avrec.models.steps import BUCKETS, SHARES, Steps
from avrec.schema import EVENT_KINDS

KINDS = ("sasrec", "ligr", "hstu", "gru", "conv", "mean")
PLACED = ("sasrec", "ligr", "hstu")
LEVELS = 256
TIME_BUCKETS = 64
KERNEL = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What a tower is made of; see `TowersConfig` and `SequenceConfig`."""

    kind: str
    dim: int
    num_heads: int
    num_blocks: int
    history_length: int
    dropout: float = 0.0
    with_times: bool = False
    with_weights: bool = False
    with_kinds: bool = False
    with_shares: bool = False


@dataclass(slots=True)
class Dropout:
    """Drops what bytes of noise say, so that a row's noise does not depend on its company."""

    kept: Tensor | None
    used: int = 0

    @classmethod
    def of(cls, noise: Tensor | None, rate: float) -> "Dropout":
        """Drop a share `rate`, in steps of 1/256."""
        level = round(rate * LEVELS)
        if noise is None or not level:
            return cls(None)
        return cls((noise >= level).float().mul_(LEVELS / (LEVELS - level)))

    def __call__(self, x: Tensor) -> Tensor:
        """Drop entries of `x` by the next of the noise."""
        if self.kept is None:
            return x
        start, self.used = self.used, self.used + x.shape[-1]
        return x * self.kept[..., start : self.used]


def noise_width(shape: Shape) -> int:
    """Bytes of noise a step: for the items, and twice a block."""
    return shape.dim * (1 + 2 * shape.num_blocks) if shape.dropout else 0


class Attention(nn.Module):
    """Causal multi-head self-attention."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.num_heads = shape.num_heads
        self.qkv = nn.Linear(shape.dim, 3 * shape.dim, bias=False)
        self.out = nn.Linear(shape.dim, shape.dim)

    def forward(self, x: Tensor) -> Tensor:
        """Each step sees itself and those before it."""
        split = (*x.shape[:2], 3, self.num_heads, -1)
        q, k, v = self.qkv(x).view(split).permute(2, 0, 3, 1, 4)
        found = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(found.transpose(1, 2).reshape(x.shape))


class SASRecBlock(nn.Module):
    """Attention, then a feed-forward layer."""

    def __init__(self, shape: Shape, place: int) -> None:  # noqa: ARG002
        super().__init__()
        self.norm_attention, self.norm_mix = nn.LayerNorm(shape.dim), nn.LayerNorm(shape.dim)
        self.attention = Attention(shape)
        self.mix = nn.Sequential(
            nn.Linear(shape.dim, 2 * shape.dim), nn.GELU(), nn.Linear(2 * shape.dim, shape.dim)
        )

    def forward(self, x: Tensor, steps: Steps, drop: Dropout) -> Tensor:  # noqa: ARG002
        """Add what each part finds."""
        x = x + drop(self.attention(self.norm_attention(x)))
        return x + drop(self.mix(self.norm_mix(x)))


class LiGRBlock(nn.Module):
    """Attention, then SwiGLU, each through a gate of what came in."""

    def __init__(self, shape: Shape, place: int) -> None:  # noqa: ARG002
        super().__init__()
        dim = shape.dim
        self.norm_attention, self.norm_mix = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = Attention(shape)
        self.gate_attention, self.gate_mix = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.up, self.down = nn.Linear(dim, 4 * dim, bias=False), nn.Linear(2 * dim, dim)

    def forward(self, x: Tensor, steps: Steps, drop: Dropout) -> Tensor:  # noqa: ARG002
        """Add what each part finds, as far as its gate is open."""
        found = self.attention(self.norm_attention(x))
        x = x + torch.sigmoid(self.gate_attention(x)) * drop(found)
        gate, value = self.up(self.norm_mix(x)).chunk(2, dim=-1)
        found = self.down(functional.silu(gate) * value)
        return x + torch.sigmoid(self.gate_mix(x)) * drop(found)


class HSTUBlock(nn.Module):
    """Pointwise attention by SiLU, gated; biases tell how far back in place and in time."""

    def __init__(self, shape: Shape, place: int) -> None:  # noqa: ARG002
        super().__init__()
        self.num_heads, self.length = shape.num_heads, shape.history_length
        self.norm, self.norm_found = nn.LayerNorm(shape.dim), nn.LayerNorm(shape.dim)
        self.uqkv = nn.Linear(shape.dim, 4 * shape.dim, bias=False)
        self.out = nn.Linear(shape.dim, shape.dim)
        self.by_place = nn.Parameter(0.02 * torch.randn(shape.history_length))
        self.by_time = nn.Parameter(0.02 * torch.randn(TIME_BUCKETS))

    def forward(self, x: Tensor, steps: Steps, drop: Dropout) -> Tensor:
        """Sum values over the steps so far, not normed by their number."""
        num_rows, length, dim = x.shape
        wide = functional.silu(self.uqkv(self.norm(x)))
        u, rest = wide[..., :dim], wide[..., dim:]
        split = (num_rows, length, 3, self.num_heads, -1)
        q, k, v = rest.view(split).permute(2, 0, 3, 1, 4)
        logits = q @ k.transpose(-1, -2) + self._bias(steps)[:, None]
        weights = functional.silu(logits).tril() / self.length
        found = (weights @ v).transpose(1, 2).reshape(x.shape)
        return x + drop(self.out(drop(self.norm_found(found) * u)))

    def _bias(self, steps: Steps) -> Tensor:
        length = steps.at.shape[1]
        places = torch.arange(length, device=steps.at.device)
        back = (places[:, None] - places[None, :]).clamp(min=0)
        apart = (steps.at[:, :, None] - steps.at[:, None, :]).clamp(min=0)
        buckets = (torch.log1p(apart.float()) / 0.301).long().clamp(max=TIME_BUCKETS - 1)
        of_time = functional.embedding(buckets, self.by_time[:, None])[..., 0]
        return of_time + self.by_place[back]


class GRUBlock(nn.Module):
    """A recurrent layer beside what came in."""

    def __init__(self, shape: Shape, place: int) -> None:  # noqa: ARG002
        super().__init__()
        self.norm = nn.LayerNorm(shape.dim)
        self.gru = nn.GRU(shape.dim, shape.dim, batch_first=True)

    def forward(self, x: Tensor, steps: Steps, drop: Dropout) -> Tensor:  # noqa: ARG002
        """Add the states."""
        return x + drop(self.gru(self.norm(x))[0])


class ConvBlock(nn.Module):
    """Two causal convolutions; the n-th block looks 2^n times as far as the first."""

    def __init__(self, shape: Shape, place: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(shape.dim) for _ in range(2))
        self.convolutions = nn.ModuleList(
            nn.Conv1d(shape.dim, shape.dim, KERNEL, dilation=d) for d in (2**place, 2 * 2**place)
        )

    def forward(self, x: Tensor, steps: Steps, drop: Dropout) -> Tensor:  # noqa: ARG002
        """Add what is found near by and further back."""
        found = x
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            assert isinstance(convolution, nn.Conv1d)
            behind = (KERNEL - 1) * convolution.dilation[0]
            past = functional.pad(norm(found).relu().transpose(1, 2), (behind, 0))
            found = drop(convolution(past).transpose(1, 2))
        return x + found


class MeanBlock(nn.Module):
    """The mean so far, and what a layer makes of it."""

    def __init__(self, shape: Shape, place: int) -> None:  # noqa: ARG002
        super().__init__()
        self.mix = nn.Linear(shape.dim, shape.dim)

    def forward(self, x: Tensor, steps: Steps, drop: Dropout) -> Tensor:  # noqa: ARG002
        """A running mean along the steps."""
        counts = torch.arange(1, x.shape[1] + 1, device=x.device)[:, None]
        mean = x.cumsum(dim=1) / counts
        return mean + drop(self.mix(mean))


BLOCKS = {
    "sasrec": SASRecBlock,
    "ligr": LiGRBlock,
    "hstu": HSTUBlock,
    "gru": GRUBlock,
    "conv": ConvBlock,
    "mean": MeanBlock,
}


class SequenceTower(nn.Module):
    """A stack of blocks over items with what else is known of each step, and of who asks."""

    asker: Asker | None

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        dim, self.rate = shape.dim, shape.dropout
        self.places = _table(shape.history_length, dim) if shape.kind in PLACED else None
        self.gaps = _table(BUCKETS, dim) if shape.with_times else None
        self.marks = _table(BUCKETS, dim) if shape.with_weights else None
        self.kinds = _table(1 + len(EVENT_KINDS), dim) if shape.with_kinds else None
        self.shares = _table(SHARES, dim) if shape.with_shares else None
        num_blocks = 1 if shape.kind == "mean" else shape.num_blocks
        self.blocks = nn.ModuleList(BLOCKS[shape.kind](shape, n) for n in range(num_blocks))
        self.norm = nn.LayerNorm(dim)
        self.asker = None

    def forward(self, items: Tensor, steps: Steps) -> Tensor:
        """Vectors (n, length, dim) at each step, from the items' vectors of the same shape.

        What stands at a step of padding means nothing.
        """
        x = items * items.shape[-1] ** 0.5
        features = (
            (self.places, steps.places),
            (self.gaps, steps.gaps),
            (self.marks, steps.marks),
            (self.kinds, steps.kinds),
            (self.shares, steps.shares),
        )
        for table, rows in features:
            if table is not None:
                x = x + table(rows)
        drop = Dropout.of(steps.noise, self.rate)
        x = drop(x)
        for block in self.blocks:
            x = block(x, steps, drop)
        if self.asker is not None:
            assert steps.known is not None
            counts = torch.arange(1, x.shape[1] + 1, device=x.device)
            x = self.asker(x, counts, steps.known)
        return self.norm(x)

    def opening(self, known: Known) -> Tensor:
        """Vectors (n, dim) of those without a history."""
        assert self.asker is not None
        found: Tensor = self.norm(self.asker.opening(known))
        return found


def _table(rows: int, dim: int) -> nn.Embedding:
    table = nn.Embedding(rows, dim)
    nn.init.normal_(table.weight, std=0.02)
    return table
