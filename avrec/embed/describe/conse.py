"""From classes to words that no class is named after.

ConSE, after Norouzi et al., "Zero-shot learning by convex combination of semantic embeddings"
(2014): what a classifier sees or hears is put into the space of a sentence model, as the mean of
the vectors of its likeliest classes' names, weighed by their probabilities.
"""

from collections.abc import Sequence

import numpy as np

from avrec.arrays import Array, Vectors, unit
from avrec.embed.encoder import Encoder

TOP = 10


class Bridge:
    """Vectors of classes in the space of a sentence model."""

    def __init__(self, words: Encoder[str], classes: Sequence[str]) -> None:
        self.words = words
        self.classes = unit(words.encode([spoken(name) for name in classes]))

    def vectors(self, chances: Array) -> Vectors:
        """Unit vectors of rows of probabilities, shape (num_rows, num_classes); zeros give zeros.

        Only the ten likeliest classes of a row count.
        """
        kept = np.array(chances, np.float32)
        if kept.shape[1] > TOP:
            least = np.partition(kept, -TOP, axis=1)[:, [-TOP]]
            kept[kept < least] = 0
        return unit(kept @ self.classes)


def spoken(name: str) -> str:
    """A class's name as a person would say it.

    >>> spoken("Rodents, rats, mice"), spoken("n02085620-Chihuahua_dog")
    ('rodents, rats, mice', 'chihuahua dog')
    """
    head, dash, rest = name.partition("-")
    bare = rest if dash and head[1:].isdigit() else name
    return bare.replace("_", " ").lower()
