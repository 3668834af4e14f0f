"""Items that nobody is known to have taken to: ours beside other ways to list them by content.

`ml-1m-full`: a fifth of the items is hidden wholly, and a fifth of the others, besides, while
settings are chosen; 10 % of what each user took to among the rest, the latest, is held back too.
Lists are of the cold items, of the warm ones, and of all. Peers are chance, what is nearest to the
history by content (by the mean or by a kernel of likeness), and DropoutNet
(`jobs.benchmark_dropoutnet`) on the same factors and content. Ours are ALS with cold vectors from
`avrec.models.cold`, with weights of modalities by `avrec.models.cold_weights` if that is chosen;
and beside it, for cold items alone, the same map onto what each user took to, and likeness.

`tiktok-mm`: lists over all items for the published test, and for its pairs with a cold item among
the cold items, where the peer is how popular the ten most similar warm items are.

Settings are those of the best ndcg@20 of the validation, on `ml-1m-full` among 1,500 of its users;
ALS's by its warm items alone. There nearest content, DropoutNet and ours have 16 of them each, and
weights of modalities that were learned for ours are offered to all.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch

from avrec.arrays import Vectors
from avrec.embed.pool import Content
from avrec.evaluate import ItemCase
from avrec.factors import Factors, Retriever
from avrec.index import Lister
from avrec.models import cold_weights
from avrec.models.als import ALS
from avrec.models.cold import ColdConfig, fill_cold
from avrec.models.popularity import Popularity
from jobs import benchmark_cold_sets as sets
from jobs import benchmark_dropoutnet as dropoutnet
from jobs.benchmark_cold_fused import Fused, Part, by_likeness, by_matrix, by_vectors, by_walks
from jobs.benchmark_cold_models import (
    Chance,
    Scores,
    World,
    factors,
    judged,
    popular_alike,
    principal,
    some_of,
    weighed,
    world,
)

OURS, SIMILAR = "ALS, map and likeness", "popularity of similar items"
NEAREST, FUSED = "nearest content", "ALS, walks and likeness"
Setting = TypeVar("Setting")
Model = Retriever | Lister
Weights = Mapping[str, float]
"""Weights of modalities; 1 where none is named."""
USERS_OF_VALIDATION = 1500
GOAL, WARM_GOAL, SIMILAR_GOAL = 1.3, 0.99, 3.0
BM3 = {"recall": 0.0957, "ndcg": 0.0404}
REGS = (0.003, 0.01, 0.03)
STEPS = 20
"""Of learning the weights of modalities."""
SHARPNESS = (0.0, 4.0, 8.0, 12.0)
"""How sharp likeness is; 0 is the cosine with the mean of a history."""
CURVES = ((0.0, 1.0), (1.0, 0.3), (2.0, 0.3))
"""How sharp the kernel of the map is, and its penalty."""
TAKEN, LIKENESS, SHARP = (0.0, 0.1, 0.2), (0.0, 0.05, 0.1, 0.2), 8.0
"""Weights of what was taken to and of likeness of the text beside the map, which weighs 1."""
WIDTH, ROUNDS = 512, 5
"""Principal axes of the content that DropoutNet reads, and epochs after which it is judged."""


class Near(NamedTuple):
    """Settings of nearest content: modalities, or all, their weights, how sharp."""

    names: tuple[str, ...]
    weights: Weights
    sharpness: float


class Map(NamedTuple):
    """Settings of the map."""

    weights: Weights
    sharpness: float
    reg: float


class Peer(NamedTuple):
    """A setting of DropoutNet: are modalities weighed, and the length of a row of content."""

    weighed: bool
    length: float
    dropout: float
    hidden: int


PEERS = (
    Peer(False, 4.0, 0.5, 256),
    Peer(True, 4.0, 0.5, 256),
    Peer(True, 4.0, 0.5, 512),
    Peer(True, 4.0, 0.75, 512),
    Peer(True, 4.0, 0.9, 512),
    Peer(True, 2.0, 0.75, 512),
    Peer(True, 8.0, 0.75, 512),
    Peer(True, 4.0, 0.75, 1024),
)
SHARE = 0.2
"""Of `by_walks`."""


class Clips(NamedTuple):
    """Weights beside that of walks, which is 1; sound is weighed beside the picture."""

    als: float
    sound: float
    sharpness: float
    warm: float
    cold: float


CLIPS = [Clips(*one) for one in product((0.3, 0.5), (0.1, 0.3), (6.0,), (0.1, 0.2), (0.5, 1.0))]


def chosen(
    what: str,
    settings: Sequence[Setting],
    make: Callable[[Setting], Model],
    one: ItemCase,
) -> Setting:
    """The setting of the best ndcg on a case."""
    found = [judged(make(setting), one)["ndcg"] for setting in settings]
    best = int(np.argmax(found))
    print(f"{what}: {settings[best]} of {len(settings)}, ndcg {found[best]:.4f}", flush=True)
    return settings[best]


def of_nearest(content: Content, how: Near) -> Fused:
    """Likeness alone."""
    rows = weighed(content, how.weights, *how.names).joined()
    ones = np.ones(len(rows), np.float32)
    return Fused(NEAREST, [Part(by_likeness(rows, how.sharpness), ones)], ones > 0)


def learned(given: World, model: ALS) -> Map:
    """Weights of modalities, with their sharpness and penalty."""
    modalities, warm = given.content.modalities, given.trained
    told = [modalities[name][warm] for name in sorted(modalities)]
    found = cold_weights.learn(model.items.vectors[warm], told, STEPS)
    weights = dict(zip(sorted(modalities), found.weights.tolist(), strict=True))
    return Map(weights, found.sharpness, found.reg)


def of_map(given: World, vectors: Vectors, how: Map) -> Factors:
    """Cold items' vectors by the closed form."""
    content = weighed(given.content, how.weights).joined()
    config = ColdConfig(reg=how.reg, sharpness=how.sharpness, max_landmarks=len(content))
    return fill_cold(Factors(given.content.items, vectors), content, config)


def of_mapped(given: World, model: ALS, how: Map) -> ALS:
    """ALS with cold items by the map."""
    return ALS(of_map(given, model.items.vectors, how), model.config, given.trained)


def of_fused(given: World, model: ALS, how: Map) -> Callable[[tuple[float, float]], Fused]:
    """By weights of two more for cold items: what was taken to, mapped alike, and likeness."""
    cold = (~given.trained).astype(np.float32)
    own = np.diag(given.trained.astype(np.float32))
    taken = np.ascontiguousarray(of_map(given, own, how).vectors.T)
    text = weighed(given.content, {}, sets.TEXT).joined()
    says = by_matrix(taken), by_likeness(text, SHARP)
    parts = [Part(by_vectors(of_mapped(given, model, how)), np.ones_like(cold))]

    def of(weights: tuple[float, float]) -> Fused:
        more = [
            Part(say, cold * np.float32(weight))
            for say, weight in zip(says, weights, strict=True)
            if weight
        ]
        return Fused(OURS, [*parts, *more], cold >= 0)

    return of


def of_dropoutnet(
    given: World, model: ALS, contents: Mapping[bool, Vectors], peer: Peer
) -> dict[tuple[Peer, int], dropoutnet.DropoutNet]:
    """Train, and keep it as it is after every some epochs."""
    setting = dropoutnet.Setting(peer.dropout, peer.hidden, 2 * ROUNDS)
    content = np.float32(peer.length) * contents[peer.weighed]
    course = dropoutnet.fit(model, given.trained, content, given.past, setting)
    return {(peer, epoch): net for epoch, net in course if epoch % ROUNDS == 0}


def movies(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Hidden items of MovieLens 1M."""
    given = sets.movies(arguments.data / sets.MOVIES, arguments.runs)
    unasked = np.isin(given.content.items.ids, given.test.cold["item_id"].unique())
    valid = some_of(world(given.validation, given.content, unasked), USERS_OF_VALIDATION)
    asked, cold = world(given.test, given.content), valid.cases["cold"]
    reg = chosen("ALS, reg", REGS, lambda reg: factors(valid, reg), valid.cases["warm"])
    before, after = factors(valid, reg), factors(asked, reg)
    best = learned(valid, before)
    print(f"learned: {best}", flush=True)
    near = chosen(
        NEAREST,
        [Near(*told, sharp) for told, sharp in product(_contents(best.weights), SHARPNESS)],
        lambda how: of_nearest(given.content, how),
        cold,
    )
    axes = {
        some: principal(weighed(given.content, best.weights if some else {}), WIDTH)
        for some in (False, True)
    }
    nets: dict[tuple[Peer, int], dropoutnet.DropoutNet] = {}
    for peer in PEERS:
        nets |= of_dropoutnet(valid, before, axes, peer)
    net = chosen("DropoutNet", list(nets), nets.__getitem__, cold)
    maps = [Map({}, *curve) for curve in CURVES]
    how = chosen("map", [*maps, best], lambda how: of_mapped(valid, before, how), cold)
    fused = chosen(
        "map, taken and likeness",
        list(product(TAKEN, LIKENESS)),
        of_fused(valid, before, how),
        cold,
    )
    found: dict[str, Model] = {
        "chance": Chance(asked.cases["cold"].able),
        NEAREST: of_nearest(given.content, near),
        "DropoutNet": of_dropoutnet(asked, after, axes, net[0])[net],
        "ALS without content": after,
        "ALS and map": of_mapped(asked, after, how),
        OURS: of_fused(asked, after, how)(fused),
    }
    return _of_movies({name: _told(name, model, asked) for name, model in found.items()})


def _contents(weights: Weights) -> list[tuple[tuple[str, ...], Weights]]:
    """What nearest content is tried with."""
    few = (sets.TEXT, "genres", "year")
    return [((sets.TEXT,), {}), ((), {}), ((), weights), (few, weights)]


def clips(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The published split of TikTok, and its cold items."""
    given = sets.clips(arguments.data / sets.CLIPS)
    valid = world(given.validation, given.content)
    asked, one = world(given.test, given.content), valid.cases["overall"]
    reg = chosen("ALS, reg", REGS, lambda reg: factors(valid, reg), one)
    before, after = factors(valid, reg), factors(asked, reg)
    how = chosen("fused", CLIPS, lambda setting: of_clips(valid, before, setting), one)
    found: dict[str, Model] = {
        "ALS without content": after,
        SIMILAR: Popularity(SIMILAR, popular_alike(asked)),
        FUSED: of_clips(asked, after, how),
    }
    return _of_clips({name: _told(name, model, asked) for name, model in found.items()})


def of_clips(given: World, model: ALS, setting: Clips) -> Fused:
    """ALS, walks, and likeness of what is seen and heard."""
    rows = weighed(given.content, {"audio": setting.sound}).joined()
    ones = np.ones(len(rows), np.float32)
    alike = np.where(given.trained, setting.warm, setting.cold).astype(np.float32)
    parts = [
        Part(by_vectors(model), ones * np.float32(setting.als)),
        Part(by_walks(given.weights, SHARE), ones),
        Part(by_likeness(rows, setting.sharpness), alike),
    ]
    return Fused(FUSED, parts, np.ones(len(rows), bool))


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Compare on both sets."""
    torch.set_num_threads(arguments.threads)
    figures = []
    for name, part in ((sets.MOVIES, movies), (sets.CLIPS, clips)):
        if (arguments.data / name).is_dir():
            figures += part(arguments)
        else:
            print(f"SKIPPED: there is no {name} in {arguments.data}", flush=True)
    return figures


def _told(name: str, model: Model, asked: World) -> dict[str, Scores]:
    """Recall and ndcg by case; of chance and of what is nearest, among cold items alone."""
    cases = ("cold",) if name in ("chance", NEAREST) else tuple(asked.cases)
    found = {case: judged(model, asked.cases[case]) for case in cases}
    words = [
        f"{case} {scores['recall']:.4f} {scores['ndcg']:.4f}" for case, scores in found.items()
    ]
    print(f"{name}: recall@20, ndcg@20: {', '.join(words)}", flush=True)
    return found


def _of_movies(found: dict[str, dict[str, Scores]]) -> list[dict[str, Any]]:
    figures = [
        _figure(f"{sets.MOVIES}, cold items, {metric}@20", found[OURS]["cold"][metric], name, peer)
        for name in ("chance", NEAREST, "DropoutNet")
        for metric, peer in found[name]["cold"].items()
    ]
    name, warm = "ALS without content", found["ALS without content"]["warm"]["ndcg"]
    ours = found[OURS]["warm"]["ndcg"]
    return [*figures, _figure(f"{sets.MOVIES}, warm, ndcg@20", ours, name, warm, WARM_GOAL)]


def _of_clips(found: dict[str, dict[str, Scores]]) -> list[dict[str, Any]]:
    figures = [
        _figure(f"{sets.CLIPS}, {metric}@20", found[FUSED]["overall"][metric], "BM3", peer, 1.0)
        for metric, peer in BM3.items()
    ]
    figures += [
        _figure(f"{sets.CLIPS}, cold items, {metric}@20", value, SIMILAR, peer, SIMILAR_GOAL)
        for metric, value in found[FUSED]["cold"].items()
        for peer in (found[SIMILAR]["cold"][metric],)
    ]
    return figures


def _figure(what: str, value: float, name: str, peer: float, goal: float = GOAL) -> dict[str, Any]:
    ratio = value / peer
    line = {"figure": what, "value": round(ratio, 3), "unit": f"of {name}'s"}
    return line | {"peer": round(peer, 4), "goal": goal, "met": ratio >= goal}
