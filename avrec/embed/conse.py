"""From classes to words that no class is named after.

ConSE, after Norouzi et al., "Zero-shot learning by convex combination of semantic embeddings"
(2014): what a classifier sees or hears is put into the space of a sentence model, as the mean of
the vectors of its likeliest classes' names. So texts find sounds and pictures, without a model
that was trained on both.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from avrec.arrays import Array, Frame, Vectors, Waveform, unit
from avrec.embed.encoder import Encoder
from avrec.embed.frame_classifiers import FrameClassifier
from avrec.embed.sound_models import SpectrogramClassifier
from avrec.embed.source import Source

RULES = "1"
"""Goes up when the same weights give other vectors."""
TOP = 20
ASKED = ("{}", "the sound of {}")
"""What is sought is put in both ways."""


class Bridge:
    """Vectors of rows of probabilities, in the space of a sentence model."""

    def __init__(self, words: Encoder[str], classes: Sequence[str]) -> None:
        self.words = words
        self.classes = unit(words.encode([spoken(name) for name in classes]))

    def vectors(self, chances: Array) -> Vectors:
        """Unit vectors, shape (num_rows, dim), of probabilities, shape (num_rows, num_classes).

        The 20 likeliest classes of a row count, each by the square root of its probability, so
        that one which is nearly certain does not silence the others. Zeros give zeros.
        """
        kept = np.sqrt(np.asarray(chances, np.float32))
        if kept.shape[1] > TOP:
            least = np.partition(kept, -TOP, axis=1)[:, [-TOP]]
            kept[kept < least] = 0
        return unit(kept @ self.classes)


class _Conse:
    """An encoder of one modality into the space of texts."""

    def __init__(self, classifier: Any, words: Encoder[str], labels: Sequence[str]) -> None:
        self.classifier, self.bridge = classifier, Bridge(words, labels)
        self.name = f"{classifier.name}+{words.name}"
        self.revision = f"{classifier.revision}+{words.revision}.{RULES}"
        self.dim = words.dim

    def _vectors(self, inputs: Sequence[Array]) -> Vectors:
        """Vectors of inputs by what the classifier makes of each; an empty one gives zeros."""
        chances = np.zeros((len(inputs), len(self.bridge.classes)), np.float32)
        for row, one in enumerate(inputs):
            if len(one):
                chances[row] = self.classifier.probabilities(one).mean(axis=0)
        return self.bridge.vectors(chances)


class ConseSound(_Conse):
    """Sounds in the space of texts, by a classifier of log-mel patches such as YAMNet."""

    modality: Literal["sound"] = "sound"

    def __init__(self, source: Source, words: Encoder[str]) -> None:
        classifier = SpectrogramClassifier(source)
        super().__init__(classifier, words, classifier.labels)

    def encode(self, inputs: Sequence[Waveform]) -> Vectors:
        """Encode each waveform."""
        return self._vectors(inputs)


class ConseFrames(_Conse):
    """Frames in the space of texts, by an image classifier."""

    modality: Literal["frames"] = "frames"

    def __init__(self, source: Source, words: Encoder[str]) -> None:
        classifier = FrameClassifier(source)
        super().__init__(classifier, words, classifier.labels)

    def encode(self, inputs: Sequence[Frame]) -> Vectors:
        """Encode each segment's frames."""
        return self._vectors(inputs)


def queries(words: Encoder[str], texts: Sequence[str]) -> Vectors:
    """Unit vectors of what is sought among sounds, each the mean of two ways to put it."""
    ways = [words.encode([way.format(text) for text in texts]) for way in ASKED]
    return unit(np.mean(ways, axis=0))


def spoken(name: str) -> str:
    """A class's name as a person would say it.

    >>> spoken("Rodents, rats, mice"), spoken("n02085620-Chihuahua_dog")
    ('rodents, rats, mice', 'chihuahua dog')
    """
    head, dash, rest = name.partition("-")
    bare = rest if dash and head[1:].isdigit() else name
    return bare.replace("_", " ").lower()
