"""What a tower gains from who asks, and when, beside what they took to.

`ml-1m-full`: a fifth of the people is kept from training wholly, with nothing of them told but sex,
age band and occupation; then their first events are told, none to thirty, and the ten that follow
are asked for. `ml-100k`, which has times: the last item of everybody, asked at its hour and
weekday, with age, sex and occupation, with either, and with neither.

Both sides have the same setting, histories and seeds, and keep the epoch that is best by the last
items of some people of the training. A difference is one of ndcg@20, person by person, the mean
over seeds, with its 95 % bootstrap interval over people; it is a gain where all of that is above 0.
Where no event is told, a tower without a profile has nothing to say, and lists what is popular. A
tower to which the same profiles are dealt at random tells how much of a gain is that of its size;
one whose places are counted from the end, how much it matters to short histories that they are not.
"""

import argparse
import gzip
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from avrec.arrays import Array, Idx, Values
from avrec.embed.pool import Content
from avrec.evaluate import hits_of
from avrec.factors import Factors, Retriever
from avrec.index import as_lister
from avrec.interactions import Histories, Profile
from avrec.metrics import intervals, ndcg
from avrec.models import towers
from avrec.models.popularity import Popularity
from avrec.models.sequence_config import SequenceConfig
from avrec.models.towers_net import TowersConfig
from avrec.vocab import Vocabulary
from jobs.benchmark_sets import vocabulary

MOVIES, RATINGS = "ml-1m-full", "ml-100k"
K, AHEAD = 20, 10
TOLD = (0, 1, 2, 3, 10, 30)
KEPT_FROM_TRAINING = 0.2
FIRST = 50
"""Events of each person that are trained on, the first ones, as it is beginnings that are asked."""
CONFIG = TowersConfig(
    user="sasrec",
    dim=48,
    num_heads=2,
    history_length=50,
    epochs=12,
    batch_size=64,
    learning_rate=0.002,
    weight_decay=0.0,
    id_dropout=0.0,
    validation_users=500,
    sequence=SequenceConfig(
        num_blocks=1,
        dropout=0.2,
        places="start",
        similarity="dot",
        max_windows=2,
        average=0.99,
        loss="sampled",
        num_negatives=512,
    ),
)
NONE, PROFILE, DEALT = "none", "profile", "profile dealt at random"
END = "none, places from the end"
FIELDS = ("age", "occupation", "sex")
SETTINGS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    NONE: ((), ()),
    END: ((), ()),
    DEALT: (FIELDS, ()),
    PROFILE: (FIELDS, ()),
    "context": ((), ("hour", "weekday")),
    "profile and context": (FIELDS, ("hour", "weekday")),
}
"""Fields of the profile and of the moment."""


class Set(NamedTuple):
    """People in time order, with their profiles."""

    items: Vocabulary
    people: Histories


class Asked(NamedTuple):
    """What is told, and what is asked for, one row a person."""

    past: Histories
    relevant: Histories


def movies(folder: Path) -> Set:
    """Read `interactions.csv.gz` and `users.dat.gz`; only the order of events is known."""
    rows = _numbers(folder / "interactions.csv.gz", ",")
    lines = [line.split("::") for line in _lines(folder / "users.dat.gz")]
    told = {int(user): (sex, age, work) for user, sex, age, work, _ in lines}
    known = [told[user] for user in np.unique(rows[:, 0]).tolist()]
    sex, age, work = (np.array(column) for column in zip(*known, strict=True))
    return _set(rows[:, 0], rows[:, 1], rows[:, 2], {"age": age, "occupation": work, "sex": sex})


def ratings(folder: Path) -> Set:
    """Read `ml-100k.inter.gz` and `ml-100k.user.gz`; whatever the rating, it was seen."""
    rows = _numbers(folder / "ml-100k.inter.gz", None)
    lines = [line.split("\t") for line in _lines(folder / "ml-100k.user.gz")[1:]]
    told = {int(user): (age, sex, work) for user, age, sex, work, _ in lines}
    known = [told[user] for user in np.unique(rows[:, 0]).tolist()]
    age, sex, work = (np.array(column) for column in zip(*known, strict=True))
    profile = {"age": age.astype(float), "occupation": work, "sex": sex}
    return _set(rows[:, 0], rows[:, 1], rows[:, 3] * 1_000_000, profile)


def newcomers(given: Set, unseen: Idx, told: int) -> Asked:
    """The first `told` events of each, and the ten after them."""
    place = _places(given.people)
    past = given.people.only(place < told).take(unseen)
    ahead = given.people.only((place >= told) & (place < told + AHEAD)).take(unseen)
    return Asked(past, ahead)


def gain(values: Values, base: Values) -> tuple[float, float, float]:
    """Mean difference and its interval."""
    [found] = intervals((values - base)[:, None], np.random.default_rng(0))
    return found.value, found.low, found.high


def of_movies(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """People that training has not met."""
    given = movies(arguments.data / MOVIES)
    count = len(given.people)
    drawn = np.random.default_rng(0).permutation(count)[: int(KEPT_FROM_TRAINING * count)]
    unseen = np.sort(drawn).astype(np.int32)
    rest = np.setdiff1d(np.arange(count), unseen)
    train = given.people.only(_places(given.people) < FIRST).take(rest)
    cases = {told: newcomers(given, unseen, told) for told in TOLD}
    found = _judged(given, train, list(cases.values()), (NONE, END, DEALT, PROFILE), arguments)
    figures = []
    for place, told in enumerate(cases):
        what = f"{MOVIES}, {len(unseen)} people not trained on, {told} events told"
        pairs = ((PROFILE, NONE), (PROFILE, DEALT), (NONE, END))
        figures += [_figure(what, *pair, found, place) for pair in pairs]
    return figures


def of_ratings(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The last item of everybody."""
    given = ratings(arguments.data / RATINGS)
    last = given.people.offsets[1:] - 1
    known = np.ones(len(given.people.items), bool)
    known[last] = False
    past = replace(given.people.only(known), asked_at=given.people.at[last])
    asked = Asked(past, Histories.of(list(given.people.items[last, None])))
    names = tuple(name for name in SETTINGS if name != END)
    found = _judged(given, past, [asked], names, arguments)
    what = f"{RATINGS}, last item of {len(past)} people"
    pairs = [(PROFILE, DEALT), *((name, NONE) for name in names if name not in {NONE, DEALT})]
    return [_figure(what, name, other, found, 0) for name, other in pairs]


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Compare on both sets."""
    torch.set_num_threads(arguments.threads)
    figures = []
    for name, part in ((MOVIES, of_movies), (RATINGS, of_ratings)):
        if (arguments.data / name).is_dir():
            figures += part(arguments)
        else:
            print(f"SKIPPED: there is no {name} in {arguments.data}", flush=True)
    return figures


def _judged(
    given: Set,
    train: Histories,
    cases: Sequence[Asked],
    names: Sequence[str],
    arguments: argparse.Namespace,
) -> dict[str, list[Values]]:
    """Find each person's ndcg by setting and case, the mean over seeds, beside what is popular."""
    popular = _popular(given, train)
    found = {"popularity": [_values(popular, popular, one, len(given.items)) for one in cases]}
    seeds = arguments.seeds[:2] if len(cases) > 1 else arguments.seeds
    for name in names:
        profile, context = SETTINGS[name]
        config = replace(CONFIG, profile=profile, context=context)
        if name == END:
            config = replace(config, sequence=replace(config.sequence, places="end"))
        config = replace(config, epochs=arguments.epochs or config.epochs)
        runs = []
        for seed in seeds:
            rng = np.random.default_rng(seed) if name == DEALT else None
            model = towers.fit(_dealt(train, rng), Content(given.items, {}), config, seed)
            print(f"{name}, seed {seed}: {_curve(model)}", flush=True)
            known = [one._replace(past=_dealt(one.past, rng)) for one in cases]
            runs.append([_values(model, popular, one, len(given.items)) for one in known])
        found[name] = [np.mean(values, axis=0) for values in zip(*runs, strict=True)]
    return found


def _dealt(people: Histories, rng: np.random.Generator | None) -> Histories:
    """Give everybody somebody's profile, where there is chance."""
    if rng is None or people.profile is None:
        return people
    order = rng.permutation(len(people))
    return replace(people, profile={name: one[order] for name, one in people.profile.items()})


def _values(model: Retriever, popular: Retriever, asked: Asked, num_items: int) -> Values:
    lists, others = (
        as_lister(one).lists(asked.past, K, exclude=asked.past).idx for one in (model, popular)
    )
    shown = np.where((lists < 0).all(axis=1, keepdims=True), others, lists)
    hits = hits_of(shown, asked.relevant, num_items)
    return ndcg(hits, asked.relevant.lengths(), K)


def _figure(
    what: str, name: str, other: str, found: dict[str, list[Values]], place: int
) -> dict[str, Any]:
    value, low, high = gain(found[name][place], found[other][place])
    means = {one: float(np.nanmean(values[place])) for one, values in found.items()}
    words = "  ".join(f"{one} {mean:.4f}" for one, mean in means.items())
    print(f"{what}: {words}; {name} over {other} [{low:.4f}, {high:.4f}]", flush=True)
    return {
        "figure": f"{what}, ndcg@{K}, {name} over {other}",
        "value": round(value, 4),
        "unit": f"in [{low:.4f}, {high:.4f}]",
        "peer": round(means[other], 4),
        "goal": 0,
        "met": low > 0,
    }


def _popular(given: Set, train: Histories) -> Popularity:
    counts = 1 + np.bincount(train.items, minlength=len(given.items))[:, None]
    return Popularity("popularity", Factors(given.items, counts.astype(np.float32)))


def _curve(model: towers.Towers) -> str:
    scores = [epoch["score"] for epoch in model.curve]
    seconds = sum(epoch["seconds"] for epoch in model.curve)
    best = int(np.argmax(scores))
    return f"epoch {best + 1} of {len(scores)}, validation {scores[best]:.4f}, {seconds:.0f} s"


def _places(people: Histories) -> Array:
    """Place of each entry in its history, from 0."""
    return np.arange(len(people.items)) - people.offsets[people.query_of_item()]


def _set(user: Array, item: Array, at: Array, profile: Profile) -> Set:
    users, row = np.unique(user, return_inverse=True)
    items, column = np.unique(item, return_inverse=True)
    order = np.lexsort((column, at, row))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(users)))])
    people = Histories(
        offsets.astype(np.int64),
        column[order].astype(np.int32),
        np.ones(len(order), np.float32),
        at[order].astype(np.int64),
        profile=profile,
    )
    return Set(vocabulary("i", len(items)), people)


def _numbers(path: Path, delimiter: str | None) -> Array:
    with gzip.open(path, "rt") as lines:
        return np.loadtxt(lines, np.int64, delimiter=delimiter, skiprows=1)


def _lines(path: Path) -> list[str]:
    return gzip.open(path, "rt", encoding="latin-1").read().splitlines()
