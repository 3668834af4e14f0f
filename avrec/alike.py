"""Which contents of a catalogue are one work, by what they show, sound like and are near in.

What two contents can be compared in must agree: a cover picture under another song is no
duplicate, nor is a song under other pictures. Where there is nothing to compare fingerprints by,
vectors decide.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from avrec.arrays import Array, Idx, Scores, Values, Vectors
from avrec.index import top_k
from avrec.interactions import Histories
from avrec.media.fingerprint import HOP_SECONDS, align, same_frames
from avrec.prints import Pairs, Prints, frame_keys, paired, pairs_sharing, sound_keys
from avrec.schema import DUPLICATE_KINDS

BOTH, FRAMES, SOUND, VECTORS = (
    DUPLICATE_KINDS.index(kind) for kind in ("frames and sound", "frames", "sound", "vectors")
)
MIN_WORDS = 10
"""Words of a sound, about a second, from which it can be told from others."""
FEW_WORDS = 48
CHANCE = 0.5
"""Share of equal bits of two sounds that have nothing in common."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DuplicatesConfig:
    """When two items are near-duplicates."""

    min_frames: float = 0.6
    """Share of the frames, of either side, that the other must show too."""
    min_sound: float = 0.7
    """How far two sounds must agree where they lie best over each other: 0 is chance, 1 equal."""
    min_overlap: float = 0.6
    """Share of the longer one that the shorter must have in length, and over which two sounds must
    lie."""
    encoders: dict[str, float] = field(
        default_factory=lambda: {"picture_moments": 0.99, "sound_moments": 0.99}
    )
    """Cosine from which two items are alike to an encoder, by its name; others have no say."""
    neighbours: int = 5
    """Most similar items by each encoder that an item is compared with."""
    words_per_sound: int = 256
    """Words of a sound that others are found by."""
    shared_words: int = 2
    """Of these, how many two sounds must share to be compared; one where either is very short."""
    reach: int = 8
    """Contents of one word or picture that each content is compared with, along a fixed order."""

    def __post_init__(self) -> None:
        for name in ("min_frames", "min_sound", "min_overlap"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in (0, 1], got {getattr(self, name)}")
        for name in ("neighbours", "words_per_sound", "shared_words", "reach"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for encoder, cosine in self.encoders.items():
            if not 0 < cosine <= 1:
                raise ValueError(f"encoders.{encoder} must be in (0, 1], got {cosine}")


class Ties(NamedTuple):
    """Pairs of items that are one work; `kinds` index DUPLICATE_KINDS, similarity is in [0, 1]."""

    first: Idx
    second: Idx
    kinds: Idx
    similarity: Scores


class Likeness(NamedTuple):
    """How alike two contents are, NaN in what they cannot be compared in."""

    frames: float
    sound: float


@dataclass(frozen=True, slots=True)
class Works:
    """Distinct contents of a catalogue, in an order that ids have no part in.

    `items[n]` is a catalogue row that has content `n`, which lasts `seconds[n]`, NaN where unknown.
    `vectors` maps an encoder's name to unit rows, zeros where there is none, or nothing to see and
    hear.
    """

    items: Idx
    seconds: Values
    frames: Prints
    sound: Prints
    vectors: Mapping[str, Vectors]


def candidates(works: Works, config: DuplicatesConfig) -> Pairs:
    """Pairs of contents that share part of a fingerprint, or are near in vectors."""
    any_frame = np.ones(len(works.items), np.int32)
    by_frame = pairs_sharing(frame_keys(works.frames), any_frame, config.reach)
    words = sound_keys(works.sound, config.words_per_sound)
    counts = np.bincount(words.rows, minlength=len(works.items))
    needed = np.where(counts < FEW_WORDS, 1, config.shared_words).astype(np.int32)
    by_sound = pairs_sharing(words, needed, config.reach)
    found = [by_frame, by_sound]
    for name, cosine in config.encoders.items():
        if name in works.vectors:
            found.append(_near(works.vectors[name], cosine, config.neighbours))
    return paired(*(np.concatenate(side) for side in zip(*found, strict=True)))


def ties(works: Works, pairs: Pairs, config: DuplicatesConfig) -> Ties:
    """Those of `pairs` that are one work, as rows of `works`."""
    likeness = np.empty((len(pairs.first), 2))
    for n, (first, second) in enumerate(zip(*pairs, strict=True)):
        likeness[n] = _likeness(works, first, second, config)
    cosines = _cosines(works, pairs, config)
    told = ~np.isnan(likeness)
    kinds = np.select([told.all(axis=1), *told.T], [BOTH, FRAMES, SOUND], VECTORS)
    alike = (~told | (likeness >= [config.min_frames, config.min_sound])).all(axis=1)
    seconds = np.sort(works.seconds[np.stack(pairs)], axis=0)
    as_long = ~(seconds[0] < config.min_overlap * seconds[1])
    kept = np.where(kinds == VECTORS, cosines > 0, alike) & as_long
    means = np.nansum(likeness, axis=1) / np.maximum(told.sum(axis=1), 1)
    similarity = np.where(kinds == VECTORS, cosines, means).astype(np.float32)
    return Ties(
        pairs.first[kept], pairs.second[kept], kinds[kept].astype(np.int32), similarity[kept]
    )


def _likeness(works: Works, first: int, second: int, config: DuplicatesConfig) -> Likeness:
    frames = _same_picture(works.frames.row(first), works.frames.row(second))
    if frames < config.min_frames:
        return Likeness(frames, np.nan)
    words = works.sound.row(first), works.sound.row(second)
    return Likeness(frames, _same_sound(*words, config.min_overlap))


def _same_picture(first: Array, second: Array) -> float:
    if not first.any() or not second.any():
        return np.nan
    return min(same_frames(first, second), same_frames(second, first))


def _same_sound(first: Array, second: Array, min_overlap: float) -> float:
    """Agreement over chance where both lie best over each other, 0 where they nowhere do enough."""
    told = [np.count_nonzero(words) for words in (first, second)]
    if min(told) < MIN_WORDS:
        return np.nan
    overlap = max(MIN_WORDS, np.ceil(min_overlap * max(told)))
    agreement = align(first, second, overlap * HOP_SECONDS).agreement
    return 0.0 if np.isnan(agreement) else max(0.0, (agreement - CHANCE) / (1 - CHANCE))


def _near(vectors: Vectors, cosine: float, neighbours: int) -> Pairs:
    itself = Histories.of([np.array([row], np.int32) for row in range(len(vectors))])
    found = top_k(vectors, vectors, neighbours, exclude=itself)
    near = (found.idx >= 0) & (found.scores >= cosine)
    return paired(np.nonzero(near)[0], found.idx[near])


def _cosines(works: Works, pairs: Pairs, config: DuplicatesConfig) -> Scores:
    """Lowest cosine of the encoders that know both; 0 where one falls short, or none knows them."""
    lowest = np.full(len(pairs.first), np.inf, np.float32)
    for name, vectors in works.vectors.items():
        one, other = vectors[pairs.first], vectors[pairs.second]
        cosine = np.einsum("nd,nd->n", one, other).clip(0, 1)
        short = np.where(cosine >= config.encoders[name], cosine, 0)
        lowest = np.where(one.any(axis=1) & other.any(axis=1), np.minimum(lowest, short), lowest)
    return np.where(np.isinf(lowest), 0, lowest).astype(np.float32)
