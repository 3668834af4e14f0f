"""Errors of transcripts, counted in words.

Both sides are made alike first: small letters; no accents; apostrophes go, and hyphens and other
punctuation become spaces; "mr", "mrs" and "dr" are written out; numbers to 99 become words, and
of longer ones each digit.
"""

import re
import unicodedata
from collections.abc import Iterable

ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
    *("eighteen", "nineteen"),
)
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
TITLES = {"mr": "mister", "mrs": "missus", "dr": "doctor"}


def words(text: str) -> list[str]:
    """Words of a text, made alike.

    >>> words("Mr. O'Hara's 21 ill-disposed cats")
    ['mister', 'oharas', 'twenty', 'one', 'ill', 'disposed', 'cats']
    """
    plain = unicodedata.normalize("NFKD", text.lower()).replace("'", "").replace("\u2019", "")
    found = re.findall(r"[a-z]+|[0-9]+", plain.encode("ascii", "ignore").decode())
    return [word for one in found for word in _spoken(one)]


def _spoken(word: str) -> list[str]:
    if not word.isdigit():
        return [TITLES.get(word, word)]
    number = int(word)
    if number < len(ONES) and len(word) <= 2:  # noqa: PLR2004
        return [ONES[number]]
    if number < 100:  # noqa: PLR2004
        tens, ones = divmod(number, 10)
        return [TENS[tens - 2], *([ONES[ones]] if ones else [])]
    return [ONES[int(digit)] for digit in word]


def errors(said: list[str], heard: list[str]) -> int:
    """Fewest words to put in, take out or change to make one of the other (Levenshtein).

    >>> errors(["a", "red", "song"], ["red", "songs", "here"])
    3
    """
    above = list(range(len(heard) + 1))
    for row, word in enumerate(said, 1):
        here = [row]
        for column, other in enumerate(heard, 1):
            changed = above[column - 1] + (word != other)
            here.append(min(changed, above[column] + 1, here[-1] + 1))
        above = here
    return above[-1]


def error_rate(pairs: Iterable[tuple[str, str]]) -> float:
    """Errors of all (said, heard) over the words said."""
    both = [(words(said), words(heard)) for said, heard in pairs]
    return sum(errors(*pair) for pair in both) / sum(len(said) for said, _ in both)
