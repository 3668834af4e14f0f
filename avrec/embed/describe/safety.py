"""Harmful content of frames."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec.embed.describe.config import SafetyConfig, settings_digest
from avrec.embed.describe.describer import Seen, rows
from avrec.embed.describe.tags import times
from avrec.embed.frame_classifiers import FrameClassifier
from avrec.embed.source import Source
from avrec.schema import SEGMENT_LABELS, conform


class Safety:
    """Scores of all classes of a safety classifier in each segment: the largest, and the mean.

    Classes are in small letters. The thresholds are no part of the revision: see `flags`.
    """

    schema = SEGMENT_LABELS

    def __init__(self, config: SafetyConfig) -> None:
        source = Source(config.model, config.revision, config.batch_size, config.device)
        self.model, self.thresholds = FrameClassifier(source), config.thresholds
        self.name = self.model.name
        self.revision = f"{self.model.revision}.{settings_digest(config, 'thresholds')}"
        self.labels = [label.lower() for label in self.model.labels]
        unknown = sorted(config.thresholds.keys() - set(self.labels))
        if unknown:
            raise ValueError(f"thresholds must be of {self.labels}, got {unknown}")

    def describe(self, clip: Seen) -> pa.Table:
        """Rows of the kinds `safety` and `safety_mean`, segment by segment."""
        found = []
        for span in clip.spans:
            frames = clip.frames_in(span)
            if not len(frames):
                continue
            chances = self.model.probabilities(frames)
            for kind, scores in (
                ("safety", chances.max(axis=0)),
                ("safety_mean", chances.mean(axis=0)),
            ):
                for label, score in zip(self.labels, scores.tolist(), strict=True):
                    found.append({"kind": kind, "label": label, "score": score} | times(span))
        return rows(SEGMENT_LABELS, found)


def flags(labels: pa.Table, thresholds: Mapping[str, float]) -> dict[str, list[str]]:
    """Labels of SEGMENT_LABELS that reach their threshold in the mean of a segment, by item.

    The mean, so that one frame that is misjudged raises no flag.
    An item that was looked at and has none gets an empty list; one not looked at is left out.
    """
    table = conform(labels, SEGMENT_LABELS)
    table = table.filter(pc.equal(table["kind"], "safety_mean"))
    raised: dict[str, set[str]] = {}
    columns = (table[name].to_pylist() for name in ("item_id", "label", "score"))
    for item_id, label, score in zip(*columns, strict=True):
        mine = raised.setdefault(item_id, set())
        if score >= thresholds.get(label, np.inf):
            mine.add(label)
    return {item_id: sorted(mine) for item_id, mine in raised.items()}
