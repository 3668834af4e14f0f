"""Text without weights: hashed words and pieces of words."""

import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import pyarrow as pa

from avrec.arrays import Vectors, unit

WORD = re.compile(r"\w+")
PIECE = 4
PIECE_WEIGHT = 0.35


class WordHashes:
    """Counts of words, pairs of words and pieces of words, hashed into a fixed length.

    A count c weighs 1 + ln c, with a sign from the hash so that collisions cancel out; the hash
    is CRC-32, the same in every process. Rows have length 1; a text without words gives zeros.
    """

    name = "word_hashes"
    revision = "1"
    modality: Literal["text"] = "text"
    dim = 512

    def encode(self, inputs: Sequence[str]) -> Vectors:
        """Encode each text."""
        vectors = np.zeros((len(inputs), self.dim), np.float32)
        for row, text in enumerate(inputs):
            for (term, weight), count in Counter(_terms(text)).items():
                code = zlib.crc32(term.encode("utf-8", "surrogatepass"))
                sign = 1 if code & 1 else -1
                vectors[row, (code >> 1) % self.dim] += sign * weight * (1 + np.log(count))
        return unit(vectors)


def texts(items: pa.Table, descriptions: pa.Table | None = None) -> list[str]:
    """What ITEMS and DESCRIPTIONS say of each item: title, tags and description, a line each.

    Then come its topics and mood, its caption, its summary and its transcript, where it has them:
    an encoder that reads only so far reads what is sure first.
    """
    columns = (items[name].to_pylist() for name in ("item_id", "title", "tags", "description"))
    understood = {} if descriptions is None else _understood(descriptions)
    return [
        _joined(title, tags, description, *understood.get(item_id, ()))
        for item_id, title, tags, description in zip(*columns, strict=True)
    ]


def _understood(descriptions: pa.Table) -> dict[str, list[str]]:
    """Lines of what was understood, by item_id."""
    names = ("item_id", "topics", "mood", "caption", "summary", "transcript")
    rows = zip(*(descriptions[name].to_pylist() for name in names), strict=True)
    return {
        item_id: [", ".join(filter(None, [*(topics or []), mood])), *map(str, filter(None, lines))]
        for item_id, topics, mood, *lines in rows
    }


def _joined(title: str, tags: list[str | None] | None, description: str | None, *more: str) -> str:
    words = ", ".join(tag for tag in tags or [] if tag)
    return "\n".join(line for line in (title, words, description or "", *more) if line)


def _terms(text: str) -> Iterator[tuple[str, float]]:
    words = WORD.findall(text.casefold())
    yield from (("w " + word, 1.0) for word in words)
    yield from ((f"p {one} {two}", 0.5) for one, two in pairwise(words))
    for word in words:
        padded = f"<{word}>"
        for start in range(len(padded) - PIECE + 1):
            yield "c " + padded[start : start + PIECE], PIECE_WEIGHT
