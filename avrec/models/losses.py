"""Losses of a query against a catalogue, and the negatives that stand for it.

A logit is a dot product: `queries` (n, dim) times `items` (m, dim), the target of query `r` being
row `target[r]`. Each loss is a sum over queries, weighed; a query of weight 0 gives no gradient.

* full softmax:     -log(exp s_t / sum_j exp s_j), in chunks of queries. Each chunk's gradient is
  made with its loss, so no more than one chunk of logits is ever held (cf. Liger, Hsu et al. 2024,
  and CCE, Wijmans et al., ICLR 2025).
* sampled softmax:  the sum over all items is estimated from m negatives drawn from Q, shared by
  the queries: exp s_t + sum_j exp(s_j - log(m Q(j))), without those that are the target. The
  target itself is no draw, so it is not corrected (Khrylchenko et al., RecSys 2025).
* gBCE:             -beta log sigma(s_t) - sum_j log sigma(-s_j), whose beta undoes, by a share t,
  the overconfidence that comes of few negatives (Petrov and Macdonald, RecSys 2023).
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

LOGITS_PER_CHUNK = 1 << 21
MIN_ROWS = 128


def full_softmax(
    queries: Tensor, items: Tensor, target: Tensor, weight: Tensor, rows: int | None = None
) -> Tensor:
    """Cross entropy over all `items`, never holding the logits of more than `rows` queries."""
    loss = _FullSoftmax.apply(queries, items, target, weight, rows or _rows(len(items)))  # type: ignore[no-untyped-call]
    assert isinstance(loss, Tensor)
    return loss


def _rows(num_items: int) -> int:
    """Queries of a chunk: few enough for a core's cache, many enough for a matrix product."""
    return max(MIN_ROWS, LOGITS_PER_CHUNK // max(num_items, 1))


class _FullSoftmax(Function):
    """Loss and gradients of one chunk after another, in one buffer of (rows, num_items)."""

    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, items: Tensor, target: Tensor, weight: Tensor, rows: int
    ) -> Tensor:
        wanted = any(ctx.needs_input_grad[:2])
        of_queries, of_items = torch.empty_like(queries), torch.zeros_like(items)
        buffer = queries.new_empty(min(rows, len(queries)), len(items))
        total = queries.new_zeros(())
        for start in range(0, len(queries), rows):
            part = slice(start, start + rows)
            logits = buffer[: len(queries[part])]
            torch.mm(queries[part], items.T, out=logits)
            total += _of_chunk(logits, target[part], weight[part], wanted=wanted)
            if wanted:
                torch.mm(logits, items, out=of_queries[part])
                of_items.addmm_(logits.T, queries[part])
        ctx.save_for_backward(of_queries, of_items)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        of_queries, of_items = ctx.saved_tensors
        return of_queries * gradient, of_items * gradient, None, None, None


def _of_chunk(logits: Tensor, target: Tensor, weight: Tensor, *, wanted: bool) -> Tensor:
    """Loss of a chunk; if `wanted`, `logits` become its gradient."""
    at = target[:, None]
    highest = logits.amax(dim=1, keepdim=True)
    chosen = logits.gather(1, at) - highest
    total = logits.sub_(highest).exp_().sum(dim=1, keepdim=True)
    if wanted:
        logits.mul_(weight[:, None] / total).scatter_add_(1, at, -weight[:, None])
    return ((total.log() - chosen)[:, 0] * weight).sum()


def sampled_softmax(
    positive: Tensor, negative: Tensor, same: Tensor, log_expected: Tensor, weight: Tensor
) -> Tensor:
    """Cross entropy with the sum over the catalogue estimated from a sample.

    Args:
        positive: logits of the targets, (n).
        negative: logits of the negatives, (n, m).
        same: where a negative is the query's target, or else no negative of it; (n, m).
        log_expected: log of how often each negative is expected among the draws, m Q(j); (m).
            Zeros leave the sample uncorrected.
        weight: (n).
    """
    rivals = (negative - log_expected).masked_fill(same, -torch.inf)
    every = torch.cat([positive[:, None], rivals], dim=1)
    return ((every.logsumexp(dim=1) - positive) * weight).sum()


def gbce(
    positive: Tensor,
    negative: Tensor,
    same: Tensor,
    calibration: float,
    num_items: int,
    weight: Tensor,
) -> Tensor:
    """Binary cross entropy with the positive's probability to the power beta.

    `calibration`, t in [0, 1], leaves plain binary cross entropy at 0 and calibrates wholly at 1;
    other arguments as for `sampled_softmax`. With k negatives of `num_items`, and
    alpha = k / (num_items - 1),  beta = alpha (t (1 - 1/alpha) + 1/alpha).
    """
    share = negative.shape[1] / max(num_items - 1, 1)
    beta = calibration * (share - 1) + 1
    others = functional.softplus(negative).masked_fill(same, 0).sum(dim=1)
    return ((beta * functional.softplus(-positive) + others) * weight).sum()
