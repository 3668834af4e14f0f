"""Items that nobody is known to have taken to: ours beside other ways to list them by content.

`ml-1m-full`: a fifth of the items is hidden wholly, and a fifth of the others, besides, while
settings are chosen; 10 % of what each user took to among the rest, the latest, is held back too.
Lists are of the cold items, of the warm ones, and of all. Peers are chance, what is nearest to the
history by content (of text alone or of all, by mean or by a kernel of likeness), and DropoutNet
(`jobs.benchmark_dropoutnet`) on the same factors and content. Ours are ALS with cold vectors from
`avrec.models.cold`, and the same with likeness beside it (`avrec.models.hybrid`).

`tiktok-mm`: lists over all items for the published test, and for its pairs with a cold item among
the cold items, where the peer is how popular the ten most similar warm items are.

Settings are those of the best ndcg@20 of the validation, among 1,500 of its users; ALS's by its
warm items alone.
"""

import argparse
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch

from avrec.evaluate import ItemCase
from avrec.factors import Retriever
from avrec.index import Lister
from avrec.models.als import ALS
from avrec.models.cold import ColdConfig, fill_cold
from avrec.models.hybrid import Hybrid, HybridConfig
from avrec.models.popularity import Popularity
from jobs import benchmark_cold_sets as sets
from jobs import benchmark_dropoutnet as dropoutnet
from jobs.benchmark_cold_fused import Fused, Part, by_likeness, by_vectors, by_walks
from jobs.benchmark_cold_models import (
    Chance,
    Nearest,
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
FUSED = "ALS, walks and likeness"
Setting = TypeVar("Setting")
Model = Retriever | Lister
USERS_OF_VALIDATION = 1500
GOAL, WARM_GOAL, SIMILAR_GOAL = 1.3, 0.99, 3.0
BM3 = {"recall": 0.0957, "ndcg": 0.0404}
REGS = (0.003, 0.01, 0.03)
WEIGHINGS: tuple[dict[str, float], ...] = (
    {},
    {sets.TEXT: 3.0, "genres": 1.5, "year": 1.5, "cast": 0.7, "makers": 0.4},
)
"""Weights of modalities; 1 where none is named."""
CURVES = ((0.0, 1.0), (0.5, 0.3), (1.0, 0.3), (1.0, 0.6), (2.0, 0.3))
"""How sharp the kernel of the map is, and its penalty."""
NEAREST = (((sets.TEXT,), 0.0), ((sets.TEXT,), 4.0), ((sets.TEXT,), 8.0), ((), 0.0), ((), 8.0))
"""Modalities, or all, and how sharp likeness is; 0 is the cosine with the mean of a history."""
LIKENESS = (0.0, 0.3, 0.6, 1.0)
WIDTH, LENGTH, HIDDEN, DROPOUT = 512, 4.0, 256, 0.5
"""Principal axes of the content that DropoutNet reads, length of its rows, and its setting."""
ROUNDS, EPOCHS = 12, 48
"""Epochs of DropoutNet after which it is judged, and its last."""
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


def of_nearest(given: World, setting: tuple[tuple[str, ...], float]) -> Nearest:
    """Of all modalities, or the named ones."""
    names, sharpness = setting
    return Nearest(weighed(given.content, {}, *names), sharpness)


def of_map(given: World, model: ALS, setting: tuple[dict[str, float], tuple[float, float]]) -> ALS:
    """Cold items' vectors by the closed form."""
    weights, (sharpness, reg) = setting
    content = weighed(given.content, weights).joined()
    config = ColdConfig(reg=reg, sharpness=sharpness, max_landmarks=len(content))
    filled = fill_cold(model.items, content, config)
    return ALS(filled, model.config, given.trained)


def of_hybrid(given: World, model: ALS, cold: float) -> Hybrid:
    """Likeness of text beside what the map foretells; warm items as they are."""
    text = weighed(given.content, {}, sets.TEXT).joined()
    config = HybridConfig(sharpness=8.0, warm=0.0, cold=cold)
    return Hybrid(model, text, config, given.trained)


def of_dropoutnet(given: World, model: ALS, epochs: int) -> dict[int, dropoutnet.DropoutNet]:
    """Train, and keep it as it is after every some epochs."""
    content = LENGTH * principal(given.content, WIDTH)
    setting = dropoutnet.Setting(DROPOUT, HIDDEN, epochs)
    course = dropoutnet.fit(model, given.trained, content, given.past, setting)
    return {epoch: net for epoch, net in course if epoch % ROUNDS == 0}


def movies(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Hidden items of MovieLens 1M."""
    given = sets.movies(arguments.data / sets.MOVIES, arguments.runs)
    unasked = np.isin(given.content.items.ids, given.test.cold["item_id"].unique())
    valid = some_of(world(given.validation, given.content, unasked), USERS_OF_VALIDATION)
    asked, cold = world(given.test, given.content), valid.cases["cold"]
    reg = chosen("ALS, reg", REGS, lambda reg: factors(valid, reg), valid.cases["warm"])
    before, after = factors(valid, reg), factors(asked, reg)
    near = chosen(
        "nearest content",
        NEAREST,
        lambda setting: of_nearest(valid, setting),
        cold,
    )
    nets = of_dropoutnet(valid, before, EPOCHS)
    epochs = chosen("DropoutNet, epochs", list(nets), nets.__getitem__, cold)
    how = chosen(
        "map",
        list(product(WEIGHINGS, CURVES)),
        lambda setting: of_map(valid, before, setting),
        cold,
    )
    mapped = of_map(valid, before, how)
    weight = chosen("likeness", LIKENESS, lambda weight: of_hybrid(valid, mapped, weight), cold)
    mapped = of_map(asked, after, how)
    found: dict[str, Model] = {
        "chance": Chance(asked.cases["cold"].able),
        "nearest content": of_nearest(asked, near),
        "DropoutNet": of_dropoutnet(asked, after, epochs)[epochs],
        "ALS without content": after,
        "ALS and map": mapped,
        OURS: of_hybrid(asked, mapped, weight),
    }
    return _of_movies({name: _told(name, model, asked) for name, model in found.items()})


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
    alike = np.where(given.trained, np.float32(setting.warm), np.float32(setting.cold))
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
    cases = ("cold",) if isinstance(model, Chance | Nearest) else tuple(asked.cases)
    found = {case: judged(model, asked.cases[case]) for case in cases}
    words = [
        f"{case} {scores['recall']:.4f} {scores['ndcg']:.4f}" for case, scores in found.items()
    ]
    print(f"{name}: recall@20, ndcg@20: {', '.join(words)}", flush=True)
    return found


def _of_movies(found: dict[str, dict[str, Scores]]) -> list[dict[str, Any]]:
    figures = [
        _figure(f"{sets.MOVIES}, cold items, {metric}@20", found[OURS]["cold"][metric], name, peer)
        for name in ("chance", "nearest content", "DropoutNet")
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
