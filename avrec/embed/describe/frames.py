"""Tags of what is seen: labels of one's own choice, or the classes of a classifier."""

from typing import Any, Protocol

import pyarrow as pa
import transformers

from avrec.arrays import Array, Frame
from avrec.embed.conse import Bridge
from avrec.embed.describe.config import FramesConfig, settings_digest
from avrec.embed.describe.describer import Seen, rows
from avrec.embed.describe.tags import best, times
from avrec.embed.describe.zero_shot import TwoTowers
from avrec.embed.encoder import EncoderConfig, load_encoder
from avrec.embed.frame_classifiers import FrameClassifier
from avrec.embed.source import Source
from avrec.schema import SEGMENT_LABELS


class _Judge(Protocol):
    """Scores lists of labels for frames."""

    name: str
    revision: str
    lists: list[tuple[str, ...]]

    def scores(self, frames: Frame) -> list[Array]:
        """Mean over the frames of each label's score, list by list."""
        ...


class Frames:
    """The labels that fit a segment's frames best: some of the subjects and some of the moods."""

    schema = SEGMENT_LABELS

    def __init__(self, config: FramesConfig) -> None:
        self.config, self.judge = config, _judge(config)
        self.name = self.judge.name
        self.revision = f"{self.judge.revision}.{settings_digest(config)}"

    def describe(self, clip: Seen) -> pa.Table:
        """Rows of the kind `frame_tag`, segment by segment."""
        found = []
        for span in clip.spans:
            frames = clip.frames_in(span)
            if not len(frames):
                continue
            for labels, scores in zip(self.judge.lists, self.judge.scores(frames), strict=True):
                tags = best(labels, scores, self.config.threshold, self.config.top)
                found += [tag | {"kind": "frame_tag"} | times(span) for tag in tags]
        return rows(SEGMENT_LABELS, found)


class _ByTowers:
    def __init__(self, towers: TwoTowers, config: FramesConfig) -> None:
        self.towers, self.name, self.revision = towers, towers.name, towers.revision
        self.lists = _lists(config)
        self.sentences = [towers.sentences(one) for one in _sentences(config)]

    def scores(self, frames: Frame) -> list[Array]:
        return [self.towers.scores(frames, one).mean(axis=0) for one in self.sentences]


class _ByBridge:
    def __init__(self, classifier: FrameClassifier, config: FramesConfig) -> None:
        words = load_encoder(EncoderConfig(kind="sentence_model", model=config.words_model))
        self.classifier, self.bridge = classifier, Bridge(words, classifier.labels)
        self.name = f"{classifier.name}+{words.name}"
        self.revision = f"{classifier.revision}+{words.revision}"
        self.lists = _lists(config)
        self.labels = [Bridge(words, one).classes for one in self.lists]

    def scores(self, frames: Frame) -> list[Array]:
        vector = self.bridge.vectors(self.classifier.probabilities(frames).mean(axis=0)[None])[0]
        return [(one @ vector).clip(0, 1) for one in self.labels]


class _ByClasses:
    def __init__(self, classifier: FrameClassifier) -> None:
        self.classifier, self.lists = classifier, [tuple(classifier.labels)]
        self.name, self.revision = classifier.name, classifier.revision

    def scores(self, frames: Frame) -> list[Array]:
        return [self.classifier.probabilities(frames).mean(axis=0)]


def _judge(config: FramesConfig) -> _Judge:
    source = Source(config.model, config.revision, config.batch_size, config.device)
    settings: Any = transformers.AutoConfig.from_pretrained(**source.place)
    if hasattr(settings, "text_config") and hasattr(settings, "vision_config"):
        return _ByTowers(TwoTowers(source), config)
    classifier = FrameClassifier(source)
    return _ByBridge(classifier, config) if config.words_model else _ByClasses(classifier)


def _lists(config: FramesConfig) -> list[tuple[str, ...]]:
    return [labels for labels in (config.subjects, config.moods) if labels]


def _sentences(config: FramesConfig) -> list[list[str]]:
    pairs = ((config.subjects, config.subject_template), (config.moods, config.mood_template))
    return [[template.format(label) for label in labels] for labels, template in pairs if labels]
