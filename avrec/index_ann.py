"""The nearest of a large catalogue for one query, exactly or nearly, as was fastest when built.

What is compared, when an index is built, is an exact scan of float32 and, where `faiss` is
installed (`avrec[ann]`), scans of two-byte and one-byte vectors, an inverted file and, of
catalogues that are not too large, an HNSW graph. Queries that the service would ask judge each by
its time and by its recall of the exact lists; the fastest of those with enough recall is kept, and
the report of all goes with it. Where a dtype is asked for, only ways of such vectors are compared,
of a small catalogue too. What a scan or graph finds is scored again by the float32 vectors, and a
list that would be short of what can be had is made exactly, so only which items are found is
approximate.
"""

import time
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import numpy as np

from avrec.arrays import Idx, Mask, Vectors
from avrec.errors import ArtifactError, ConfigError
from avrec.index import Scan, TopK, top_k
from avrec.interactions import Histories
from avrec.store import Artifact, Draft

EXACT = "exact float32"
K, SPARE, MAX_FETCHED = 100, 8, 2048
PROBES = tuple(2**n for n in range(12))
NEIGHBOURS, TRAINED_PER_LIST = 32, 64
INNER_PRODUCT = 0
CODES = {"float16": "SQfp16", "bf16": "SQbf16", "int8": "SQ8"}
"""How faiss calls vectors of fewer bytes."""
ANY, FLOAT32 = "any", "float32"
DTYPES = (ANY, FLOAT32, *CODES)


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexConfig:
    """When, and how well, lists may be found by less than looking at everything."""

    min_items: int = 50_000
    """Items with a vector up to which lists are exact, with nothing else tried."""
    min_recall: float = 0.95
    """Share of the first 100 of exact lists that an index must find, on average."""
    max_graph_items: int = 200_000
    """Items up to which a graph is tried; building one takes long."""
    num_queries: int = 100
    """Histories whose lists judge."""
    dtype: str = ANY
    """What is scanned: float32, which is exact, float16, bf16 or int8; any is the fastest."""

    def __post_init__(self) -> None:
        if self.min_items < 1 or self.num_queries < 1:
            raise ValueError("min_items and num_queries must be at least 1")
        if not 0 < self.min_recall <= 1:
            raise ValueError(f"min_recall must be in (0, 1], got {self.min_recall}")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype must be among {DTYPES}, got {self.dtype!r}")

    def tries(self, num_items: int) -> bool:
        """Tell whether more than an exact scan is tried for so many items."""
        return self.dtype in CODES or (self.dtype == ANY and num_items > self.min_items)


@dataclass(frozen=True, slots=True)
class Measured:
    """One way to search: time of one query and recall@100, medians and means over the queries."""

    way: str
    milliseconds: float
    recall: float
    size_bytes: int
    build_seconds: float
    probes: int = 0
    """Lists of an inverted file, or nodes of a graph, that a query looks at."""


class Searcher(Protocol):
    """Finds the items of the highest dot product."""

    @property
    def way(self) -> str:
        """How, in words."""
        ...

    def top_k(self, queries: Vectors, k: int, exclude: Histories | None = None) -> TopK:
        """See `avrec.index.top_k`."""
        ...


class Way(NamedTuple):
    """A kind of index: how faiss calls it, and the setting that trades time for recall."""

    name: str
    factory: str
    setting: str = ""


class Built(NamedTuple):
    """What was chosen, and all that was measured; `index` is faiss's, None for an exact scan."""

    chosen: Measured
    measured: tuple[Measured, ...]
    index: Any


class Nearly:
    """A faiss index over the items that can be listed.

    Args:
        index: of the known items, in the order of their rows.
        items: shape (num_items, dim); what is found is scored by them.
        known: items that may be listed.
        way: how it searches, in words.
    """

    def __init__(self, index: Any, items: Vectors, known: Mask, way: str = "by faiss") -> None:
        self._index, self._items, self.way = index, items, way
        self._rows = np.flatnonzero(known).astype(np.int32)
        if index.ntotal != len(self._rows):
            raise ArtifactError(
                f"the index has {index.ntotal} items, {len(self._rows)} can be listed; index again"
            )
        self._known = known

    def top_k(self, queries: Vectors, k: int, exclude: Histories | None = None) -> TopK:
        """Find k items a query, nearly the best; a list that came out short is made exactly."""
        barred = np.zeros(len(queries), np.int64) if exclude is None else exclude.lengths()
        fetched = k + int(barred.max(initial=0)) + SPARE
        if fetched > min(MAX_FETCHED, len(self._rows)):
            return top_k(queries, self._items, k, exclude, self._known)
        _, found = self._index.search(np.ascontiguousarray(queries, np.float32), fetched)
        rows = np.where(found >= 0, self._rows[found], np.int32(-1))
        best = self._best(queries, rows, k, exclude)
        short = np.flatnonzero((best.idx[:, -1] < 0) & queries.any(axis=1)).astype(np.int32)
        if len(short):
            left_out = None if exclude is None else exclude.take(short)
            exact = top_k(queries[short], self._items, k, left_out, self._known)
            best.idx[short], best.scores[short] = exact
        return best

    def _best(self, queries: Vectors, rows: Idx, k: int, exclude: Histories | None) -> TopK:
        scores = np.einsum("qd,qnd->qn", queries, self._items[rows])
        scores[rows < 0] = -np.inf
        scores[~queries.any(axis=1)] = -np.inf
        if exclude is not None:
            for query in range(len(queries)):
                scores[query, np.isin(rows[query], exclude.row(query))] = -np.inf
        order = np.lexsort((rows, -scores), axis=1)[:, :k]
        best = np.take_along_axis(scores, order, axis=1)
        idx = np.take_along_axis(rows, order, axis=1)
        return TopK(np.where(np.isneginf(best), np.int32(-1), idx), best.astype(np.float32))


def build(items: Vectors, known: Mask, queries: Vectors, config: IndexConfig) -> Built:
    """Measure the ways that can be used, and keep the fastest with enough recall.

    Where a dtype is asked for, the exact scan is kept only if no way of that dtype finds enough.

    Args:
        items: shape (num_items, dim).
        known: items that may be listed.
        queries: such as the service asks, shape (num_queries, dim); rows of zeros are left out.
        config: what is asked of an index.

    Raises:
        ConfigError: a dtype is asked for that needs faiss, which is not installed.
    """
    asked = np.ascontiguousarray(queries[queries.any(axis=1)][: config.num_queries], np.float32)
    scan = Scan(items, known)
    exact = Measured(EXACT, _milliseconds(scan, asked), 1.0, items.nbytes, 0.0)
    if not len(asked) or not known.any() or not config.tries(int(known.sum())):
        return Built(exact, (exact,), None)
    if config.dtype == ANY and not has_faiss():
        return Built(exact, (exact,), None)
    truth = scan.top_k(asked, K).idx
    made = [
        _measured(way, items, known, asked, truth, config)
        for way in _ways(int(known.sum()), config)
    ]
    enough = [(one, index) for one, index in made if one.recall >= config.min_recall]
    if config.dtype == ANY or not enough:
        enough.append((exact, None))
    chosen, index = min(enough, key=lambda pair: pair[0].milliseconds)
    return Built(chosen, (exact, *(one for one, _ in made)), index)


def save(built: Built, name: str, draft: Draft) -> None:
    """Write `index.NAME.json` and, for an index, `index.NAME.faiss`, as faiss lays it out."""
    facts = {"chosen": asdict(built.chosen), "measured": [asdict(one) for one in built.measured]}
    draft.add_json(f"index.{name}.json", facts)
    if built.index is not None:
        content = _faiss().serialize_index(built.index).tobytes()
        draft.add(draft.place.write_part(f"index.{name}.faiss", content))


def load(artifact: Artifact, name: str, items: Vectors, known: Mask) -> Searcher:
    """Read what `save` wrote, checked against the artifact's hashes.

    Raises:
        ArtifactError: it is of other items.
        ConfigError: it needs faiss, which is not installed.
    """
    chosen = Measured(**artifact.json(f"index.{name}.json")["chosen"])
    if chosen.way == EXACT:
        return Scan(items, known)
    content = np.frombuffer(artifact.bytes(f"index.{name}.faiss"), np.uint8)
    way = f"{chosen.way}, {chosen.probes} probes" if chosen.probes else chosen.way
    told = f"{way}, recall@{K} {chosen.recall:.3f} when built"
    return Nearly(_faiss().deserialize_index(content), items, known, told)


def has_faiss() -> bool:
    """Tell whether faiss is installed."""
    return find_spec("faiss") is not None


def _faiss() -> ModuleType:
    try:
        return import_module("faiss")
    except ModuleNotFoundError as error:
        raise ConfigError("this index needs faiss: pip install 'avrec[ann]'") from error


def _ways(num_items: int, config: IndexConfig) -> list[Way]:
    dtypes = [config.dtype] if config.dtype in CODES else list(CODES)
    ways = [Way(f"{dtype} scan", CODES[dtype]) for dtype in dtypes]
    if num_items <= config.min_items:
        return ways
    lists, code = 2 ** round(np.log2(2 * np.sqrt(num_items))), CODES[dtypes[0]]
    ways.append(Way(f"{dtypes[0]} inverted file", f"IVF{lists},{code}", "nprobe"))
    if num_items <= config.max_graph_items:
        ways.append(Way(f"{dtypes[0]} graph", f"HNSW{NEIGHBOURS},{code}", "efSearch"))
    return ways


def _measured(
    way: Way, items: Vectors, known: Mask, asked: Vectors, truth: Idx, config: IndexConfig
) -> tuple[Measured, Any]:
    """Build an index and, where it has a setting, use the least that finds enough."""
    faiss, begun = _faiss(), time.perf_counter()
    index = faiss.index_factory(items.shape[1], way.factory, INNER_PRODUCT)
    vectors = np.ascontiguousarray(items[known], np.float32)
    if way.setting == "nprobe":
        faiss.extract_index_ivf(index).cp.max_points_per_centroid = TRAINED_PER_LIST
    index.train(vectors)
    index.add(vectors)
    seconds, searcher = time.perf_counter() - begun, Nearly(index, items, known)
    probes, recall = 0, 0.0
    for probes in PROBES if way.setting else (0,):
        if way.setting:
            faiss.ParameterSpace().set_index_parameter(index, way.setting, probes)
        recall = _recall(searcher.top_k(asked, K).idx, truth)
        if recall >= config.min_recall:
            break
    size = faiss.serialize_index(index).nbytes
    return Measured(way.name, _milliseconds(searcher, asked), recall, size, seconds, probes), index


def _recall(found: Idx, truth: Idx) -> float:
    hits = [np.isin(row[row >= 0], other).mean() for row, other in zip(truth, found, strict=True)]
    return float(np.mean(hits)) if hits else 1.0


def _milliseconds(searcher: Searcher, asked: Vectors) -> float:
    """Median time of one query."""
    times = []
    for query in asked:
        begun = time.perf_counter()
        searcher.top_k(query[None], K)
        times.append(1000 * (time.perf_counter() - begun))
    return float(np.median(times)) if times else 0.0
