"""Write the sample as files such as a user would have: clips, a catalogue and events."""

from dataclasses import dataclass, field

import numpy as np

from avrec.sample.catalogue import compose, plan
from avrec.sample.clips import KINDS, render
from avrec.sample.listeners import ListenersConfig, simulate
from avrec.store import Part, Place, join, place

README = """This folder was made by `avrec.sample`. Clips, titles, channels and listeners are
simulated by a program from a seed; no recording and no person is behind them.

clips/          sound and moving pictures of six kinds
items.parquet   the catalogue
events.parquet  what the simulated listeners did
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleConfig:
    """What the embedded sample holds."""

    num_clips: int = 102
    """How many clips, of six kinds in turn."""
    listeners: ListenersConfig = field(default_factory=ListenersConfig)
    """Section `[sample.listeners]`."""

    def __post_init__(self) -> None:
        if self.num_clips < 1:
            raise ValueError(f"num_clips must be at least 1, got {self.num_clips}")


def write_sample(root_uri: str, config: SampleConfig, seed: int) -> list[Part]:
    """Write `clips/`, `items.parquet`, `events.parquet` and `README.txt` below a root.

    Args:
        root_uri: a local folder or a `pyarrow.fs` URI.
        config: sizes.
        seed: the same seed and sizes give the same tables and clips.

    Returns:
        What was written, named from the root.
    """
    root = place(root_uri)
    plans = plan(config.num_clips, seed)
    parts = []
    for number, planned in enumerate(plans):
        rng = np.random.default_rng([seed, number, 1])
        clip = render(KINDS[planned.kind], planned.suffix, planned.seconds, rng)
        parts.append(root.write_part(f"clips/{planned.name}", clip))
    uris = [join(root_uri, f"clips/{planned.name}") for planned in plans]
    items = compose(plans, uris, config.listeners.span(), seed)
    events = simulate(
        items,
        [KINDS[planned.kind].name for planned in plans],
        np.array([planned.seconds for planned in plans]),
        config.listeners,
        np.random.default_rng([seed, 2]),
    )
    parts.append(root.write_table("items.parquet", items))
    parts.append(root.write_table("events.parquet", events))
    return [*parts, root.write_part("README.txt", README.encode())]


def intact(root: Place, parts: list[Part]) -> bool:
    """Tell whether every file is still there at its full length."""
    return all((root / part.name).size_bytes() == part.size_bytes for part in parts)
