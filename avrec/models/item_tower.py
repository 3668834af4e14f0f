"""From what is known of an item to its vector.

Every source of knowledge gives a token of length `dim`: the id, by a table, and each modality and
each field of `avrec.models.fields`, by a trained projection of its vector. What is missing is
masked: whatever values stand in its place change nothing. How tokens become one is the fusion:

    sum        x = sum of the tokens
    concat     x = A [t_1, ..., t_n], where a missing token is replaced by a trained vector
    gated      x = sum of g_i t_i, gates a softmax over the tokens that are there
    attention  x = mean of the tokens after each has looked at the others

and the vector is `x + mix(x)`, unit. Nothing known gives zeros.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from avrec.models.tables import Table, table
from avrec.models.training import Crew

FUSIONS = ("sum", "concat", "gated", "attention")


def soft_unit(vectors: Tensor) -> Tensor:
    """Scale rows to length 1 (nearly, below 1e-3); zeros stay zeros, with a finite gradient.

    What comes out is float32.
    """
    vectors = vectors.float()
    return vectors * torch.rsqrt((vectors * vectors).sum(-1, keepdim=True) + 1e-6)


def id_table(num_items: int, dim: int, crew: Crew | None = None) -> Table:
    """Make the table of ids, whole, or the rows of it that are this worker's."""
    return table(num_items, dim, 0.3 / dim**0.5, crew)


class ItemTower(nn.Module):
    """The item's side of two towers; no bias, so nothing known gives zeros.

    Args:
        ids: a token of length `dim` an item, as `id_table` makes.
        widths: length of each modality's vectors, in the order in which they come.
        fusion: one of FUSIONS.
        num_heads: heads of the attention over tokens; divides `dim`.
        plain: the vector is `x`, of any length.
    """

    def __init__(
        self,
        ids: Table,
        widths: Sequence[int],
        fusion: str = "sum",
        num_heads: int = 4,
        *,
        plain: bool = False,
    ) -> None:
        super().__init__()
        self.ids, dim = ids, ids.embedding_dim
        self.project = nn.ModuleList(nn.Linear(width, dim, bias=False) for width in widths)
        for layer in self.project:
            assert isinstance(layer, nn.Linear)
            nn.init.normal_(layer.weight, std=(1 / dim / len(widths)) ** 0.5)
        self.mix = None if plain else mixer(dim)
        self.fuse = fuser(fusion, 1 + len(widths), dim, num_heads)

    def forward(
        self,
        rows: Tensor,
        keep_id: Tensor,
        content: Sequence[Tensor],
        present: Tensor | None = None,
    ) -> Tensor:
        """Vectors (n, dim) of catalogue `rows`, whose unit content comes one row an item.

        Args:
            rows: catalogue rows (n).
            keep_id: which of them may use their id (n).
            content: each modality's vectors (n, width).
            present: which modalities are there (n, num_modalities); by default a row of zeros is
                a modality that is missing.
        """
        if present is None:
            present = presence(content, rows)
        tokens = [self.ids(rows)]
        tokens += [layer(values) for layer, values in zip(self.project, content, strict=True)]
        there = torch.cat([keep_id.bool()[:, None], present], dim=1)
        masked = torch.stack(tokens, dim=1).masked_fill(~there[..., None], 0)
        x: Tensor = self.fuse(masked, there)
        return x if self.mix is None else soft_unit(x + self.mix(x))


def mixer(dim: int) -> nn.Module:
    """Make a layer without bias, hidden twice as wide."""
    return nn.Sequential(
        nn.Linear(dim, 2 * dim, bias=False), nn.ReLU(), nn.Linear(2 * dim, dim, bias=False)
    )


def presence(content: Sequence[Tensor], rows: Tensor) -> Tensor:
    """Which modalities each item has (n, num_modalities): those whose row is not all zeros."""
    there = [values.any(dim=1) for values in content]
    none = torch.zeros(len(rows), 0, dtype=torch.bool, device=rows.device)
    return torch.stack(there, dim=1) if there else none


def fuser(fusion: str, num_tokens: int, dim: int, num_heads: int) -> nn.Module:
    """Make the fusion of that name.

    Raises:
        ValueError: there is none.
    """
    if fusion == "sum":
        return Sum()
    if fusion == "concat":
        return Concat(num_tokens, dim)
    if fusion == "gated":
        return Gated(num_tokens, dim)
    if fusion == "attention":
        return Attention(num_tokens, dim, num_heads)
    raise ValueError(f"fusion must be among {FUSIONS}, got {fusion!r}")


class Sum(nn.Module):
    """Sum of the tokens (n, num_tokens, dim), of which those that are not there are zeros."""

    def forward(self, tokens: Tensor, there: Tensor) -> Tensor:  # noqa: ARG002
        """One vector (n, dim)."""
        return tokens.sum(dim=1)


class Concat(nn.Module):
    """A map of all tokens side by side; a missing one is replaced by a vector of its own."""

    def __init__(self, num_tokens: int, dim: int) -> None:
        super().__init__()
        self.missing = nn.Parameter(torch.zeros(num_tokens, dim))
        self.join = nn.Linear(num_tokens * dim, dim, bias=False)
        nn.init.normal_(self.join.weight, std=dim**-0.5)

    def forward(self, tokens: Tensor, there: Tensor) -> Tensor:
        """One vector (n, dim); none there gives zeros."""
        filled = torch.where(there[..., None], tokens, self.missing)
        joined: Tensor = self.join(filled.flatten(1))
        return joined * there.any(dim=1, keepdim=True)


class Gated(nn.Module):
    """A sum weighed by gates; each kind of token has its own, and they share one softmax."""

    def __init__(self, num_tokens: int, dim: int) -> None:
        super().__init__()
        self.liking = nn.Parameter(torch.zeros(num_tokens, dim))
        self.bias = nn.Parameter(torch.zeros(num_tokens))

    def forward(self, tokens: Tensor, there: Tensor) -> Tensor:
        """One vector (n, dim); none there gives zeros."""
        scores = (tokens * self.liking).sum(dim=-1) + self.bias
        gates = functional.softmax(scores.masked_fill(~there, -1e9), dim=1) * there
        return torch.einsum("nt,ntd->nd", gates, tokens)


class Attention(nn.Module):
    """Self-attention over tokens, each with a vector for its kind, and the mean of the outcome."""

    def __init__(self, num_tokens: int, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.kinds = nn.Parameter(0.02 * torch.randn(num_tokens, dim))
        self.ask = nn.Linear(dim, 3 * dim, bias=False)
        self.tell = nn.Linear(dim, dim, bias=False)

    def forward(self, tokens: Tensor, there: Tensor) -> Tensor:
        """One vector (n, dim); none there gives zeros."""
        num_rows, num_tokens, dim = tokens.shape
        asked = self.ask(functional.rms_norm(tokens + self.kinds, (dim,)))
        split = asked.view(num_rows, num_tokens, 3, self.num_heads, dim // self.num_heads)
        q, k, v = split.permute(2, 0, 3, 1, 4)
        mask = there[:, None, None, :] | ~there.any(dim=1)[:, None, None, None]
        found = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        seen = tokens + self.tell(found.transpose(1, 2).reshape(tokens.shape))
        total = (seen * there[..., None]).sum(dim=1)
        return total / there.sum(dim=1, keepdim=True).clamp(min=1)
