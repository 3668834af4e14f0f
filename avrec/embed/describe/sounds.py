"""Tags of what is heard: sound events and kinds of music."""

from typing import Any

import numpy as np
import pyarrow as pa

from avrec.arrays import Array, Waveform
from avrec.embed.describe.config import SoundsConfig, settings_digest
from avrec.embed.describe.describer import Seen, rows
from avrec.embed.describe.music import is_music
from avrec.embed.describe.tags import best, times
from avrec.embed.sound_models import SpectrogramClassifier
from avrec.embed.source import Source
from avrec.schema import SEGMENT_LABELS


class Sounds:
    """The likeliest classes of a classifier of log-mel patches in each segment.

    An event's score is its probability in the patch in which it is likeliest, for events are
    short; that of a kind of music is the mean over the segment's patches.
    """

    schema = SEGMENT_LABELS

    def __init__(self, config: SoundsConfig) -> None:
        source = Source(config.model, config.revision, config.batch_size, config.device)
        self.config, self.model = config, SpectrogramClassifier(source)
        self.name = self.model.name
        self.revision = f"{self.model.revision}.{settings_digest(config)}"
        self.labels = self.model.labels
        self.music = np.array(is_music(self.labels))

    def describe(self, clip: Seen) -> pa.Table:
        """Rows of the kinds `sound_event` and `music`, segment by segment."""
        found = []
        for span in clip.spans:
            waveform = clip.sound_in(span)
            if not len(waveform):
                continue
            scores = self.scores(waveform)
            events = self._best(scores, ~self.music, self.config.threshold)
            music = self._best(scores, self.music, self._least_of_music(scores))
            found += [tag | {"kind": "sound_event"} | times(span) for tag in events]
            found += [tag | {"kind": "music"} | times(span) for tag in music]
        return rows(SEGMENT_LABELS, found)

    def _best(self, scores: Array, mine: Array, threshold: float) -> list[dict[str, Any]]:
        return best(self.labels, np.where(mine, scores, -1), threshold, self.config.top)

    def _least_of_music(self, scores: Array) -> float:
        """Threshold of genres, where anything of music reaches that of events."""
        likeliest = scores[self.music].max(initial=0.0)
        certain = likeliest >= self.config.threshold
        return self.config.genre_threshold if certain else self.config.threshold

    def scores(self, waveform: Waveform) -> Array:
        """Score of each class over a stretch of sound, shape (num_classes,)."""
        chances = self.model.probabilities(waveform)
        return np.where(self.music, chances.mean(axis=0), chances.max(axis=0))
