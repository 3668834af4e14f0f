"""Titles, tags, channels and dates for the clips of the sample; all of it made up by rule."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from avrec.arrays import Idx, Micros
from avrec.sample.clips import KINDS
from avrec.schema import ITEMS, TIME, conform

DAY_MICROS = 86_400_000_000
CHANNELS_PER_KIND = 3
SHARE_OLD, SHARE_LATE = 0.45, 0.08
ADJECTIVES = ("quiet", "second", "paper", "northern", "early", "borrowed", "plain", "hidden")
NOUNS = {
    "club": ("night shift", "strobe", "warehouse", "red line", "last train", "bassline"),
    "haze": ("slow morning", "fog bank", "long breath", "glass lake", "half sleep", "blue hour"),
    "surf": ("tide table", "shoreline", "rain on tin", "breakwater", "open sea", "weather report"),
    "babble": ("small talk", "town meeting", "phone call", "long story", "radio hour", "lesson"),
    "chimes": ("music box", "clock tower", "garden bells", "icicles", "carousel", "glass marbles"),
    "engine": ("night bus", "workshop", "turbine", "mill", "service road", "cold start"),
}
ABOUT = {
    "club": "a fast beat over flickering squares",
    "haze": "slow warm chords under a drifting light",
    "surf": "waves of noise and rolling bands",
    "babble": "a voice that says nothing, and a face that says it",
    "chimes": "bells at walking pace and falling dots",
    "engine": "a trembling motor and turning stripes",
}
ANY_TAGS = ("short", "loop", "evening", "focus", "weekend", "favourites")
LANGUAGES = ("en", "de", "es", "fr")
SUFFIXES = (".mp4", ".mp4", ".mp4", ".m4a", ".mp4", ".mp4", ".mp4", ".flac", ".mp4", ".ogg")


@dataclass(frozen=True, slots=True)
class Plan:
    """One clip to be made."""

    item_id: str
    kind: int
    seconds: float
    suffix: str

    @property
    def name(self) -> str:
        """File name."""
        return self.item_id + self.suffix


def plan(num_clips: int, seed: int) -> list[Plan]:
    """Say what every clip is: kinds in equal numbers, one clip in three or four only sound."""
    plans = []
    for number in range(num_clips):
        rng = np.random.default_rng([seed, number])
        round_, kind = divmod(number, len(KINDS))
        suffix = SUFFIXES[(round_ + kind) % len(SUFFIXES)]
        plans.append(Plan(f"clip-{number:03d}", kind, float(rng.integers(40, 60)) / 10, suffix))
    return plans


def compose(
    plans: Sequence[Plan], uris: Sequence[str], span: tuple[int, int], seed: int
) -> pa.Table:
    """Write the catalogue as ITEMS.

    Args:
        plans: the clips.
        uris: where each lies.
        span: first and last moment of the simulation, UTC microseconds; some clips were out
            before it began, and a few come out in its last days.
        seed: of the choice of words, channels and dates.
    """
    rng = np.random.default_rng([seed, len(plans)])
    kinds = [KINDS[p.kind].name for p in plans]
    channel = _channels(np.array([p.kind for p in plans], np.int32), rng)
    columns = {
        "item_id": [p.item_id for p in plans],
        "title": [_title(kind, rng) for kind in kinds],
        "uri": list(uris),
        "description": [f"Simulated clip, made by a program: {ABOUT[kind]}." for kind in kinds],
        "tags": [["simulated", kind, str(rng.choice(ANY_TAGS))] for kind in kinds],
        "creator_id": [f"Channel {number} (simulated)" for number in channel],
        "language": [LANGUAGES[number % len(LANGUAGES)] for number in channel],
        "published_at": pa.array(_published(rng, len(plans), span), pa.int64()).cast(TIME),
    }
    return conform(pa.table(columns), ITEMS)


def _title(kind: str, rng: np.random.Generator) -> str:
    words = f"{rng.choice(ADJECTIVES)} {rng.choice(NOUNS[kind])}, no. {rng.integers(2, 60)}"
    return words.capitalize()


def _channels(kind: Idx, rng: np.random.Generator) -> Idx:
    numbers = 1 + rng.permutation(len(KINDS) * CHANNELS_PER_KIND).astype(np.int32)
    return numbers[kind * CHANNELS_PER_KIND + rng.integers(CHANNELS_PER_KIND, size=len(kind))]


def _published(rng: np.random.Generator, num_items: int, span: tuple[int, int]) -> Micros:
    """Spread dates: 45 % in the month before the span, 8 % in its last four days."""
    start, stop = span
    shares = (rng.permutation(num_items) + 0.5) / max(num_items, 1)
    old, late = shares < SHARE_OLD, shares > 1 - SHARE_LATE
    within = rng.uniform(size=num_items)
    at = start + within * (stop - start - 4 * DAY_MICROS)
    at[old] = start - within[old] * 30 * DAY_MICROS
    at[late] = stop - (0.5 + 3 * within[late]) * DAY_MICROS
    return at.astype(np.int64)
