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
            for kind, mine in (("sound_event", ~self.music), ("music", self.music)):
                tags = self._best(mine, scores)
                found += [tag | {"kind": kind} | times(span) for tag in tags]
        return rows(SEGMENT_LABELS, found)

    def _best(self, mine: Array, scores: Array) -> list[dict[str, Any]]:
        kept = np.where(mine, scores, -1)
        return best(self.labels, kept, self.config.threshold, self.config.top)

    def scores(self, waveform: Waveform) -> Array:
        """Score of each class over a stretch of sound, shape (num_classes,)."""
        chances = self.model.probabilities(waveform)
        return np.where(self.music, chances.mean(axis=0), chances.max(axis=0))
