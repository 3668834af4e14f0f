"""Speech packed into windows of a bounded length, and back.

A window holds stretches of a clip end to end, so a second of the window is another of the clip.
"""

import math

import numpy as np

from avrec.arrays import Values, Waveform
from avrec.embed.audio import SAMPLE_RATE
from avrec.embed.describe.voice import FRAME_SECONDS, Spans

SEARCHED_SECONDS = 5.0
"""Speech longer than a window is cut where it is least likely speech in so long before its end."""


def packed(spans: Spans, longest_seconds: float, probabilities: Values) -> list[Spans]:
    """Put spans, in order, into windows of at most `longest_seconds`; long ones are cut."""
    windows, room = list[Spans](), 0.0
    for start, stop in _short_enough(spans, longest_seconds, probabilities):
        if stop - start > room:
            windows.append(Spans())
            room = longest_seconds
        windows[-1].append((start, stop))
        room -= stop - start
    return windows


def sound_of(window: Spans, waveform: Waveform) -> Waveform:
    """The stretches of a window, end to end."""
    parts = [waveform[round(a * SAMPLE_RATE) : round(b * SAMPLE_RATE)] for a, b in window]
    return np.concatenate(parts)


def in_clip(window: Spans, start_seconds: float, stop_seconds: float) -> tuple[float, float]:
    """Where a span of a window lies in the clip; one that begins at a seam begins after it."""
    edges = np.cumsum([0.0] + [stop - start for start, stop in window])
    first = min(int(np.searchsorted(edges, start_seconds + 1e-6, "right")), len(window)) - 1
    last = max(int(np.searchsorted(edges, stop_seconds - 1e-6, "left")), first + 1, 1) - 1
    last = min(last, len(window) - 1)
    start = window[first][0] + max(0.0, start_seconds - float(edges[first]))
    stop = window[last][0] + stop_seconds - float(edges[last])
    return min(start, window[first][1]), min(max(stop, start), window[last][1])


def _short_enough(spans: Spans, longest_seconds: float, probabilities: Values) -> Spans:
    pieces = Spans()
    for whole_start, stop in spans:
        start = whole_start
        while stop - start > longest_seconds:
            searched = min(SEARCHED_SECONDS, longest_seconds / 2)
            end = _pause(start + longest_seconds, searched, probabilities)
            pieces.append((start, end))
            start = end
        pieces.append((start, stop))
    return pieces


def _pause(stop_seconds: float, searched_seconds: float, probabilities: Values) -> float:
    """Where speech is least likely in the last `searched_seconds` before a second."""
    first = math.ceil((stop_seconds - searched_seconds) / FRAME_SECONDS)
    searched = probabilities[first : math.floor(stop_seconds / FRAME_SECONDS)]
    return (first + int(np.argmin(searched))) * FRAME_SECONDS if len(searched) else stop_seconds
