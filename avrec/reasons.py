"""Why an item is in a list, in words.

Because you finished "X"        X is the most similar of the history, and was finished
Because you enjoyed "X"         ... and was not, or nobody knows
Because you like "X"            ... and is what a newcomer says to like; or X is a tag
New from a creator you like     it came out lately, and the history holds others of its creator
New in jazz                     it came out lately, and jazz is the tag that the history holds most
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from avrec.arrays import Array, Idx
from avrec.likeness import Likeness
from avrec.models.knowledge import Knowledge
from avrec.models.newcomers import Stated
from avrec.sources import CREATORS, DAY, DISCOVERY, FRESH, SEGMENT

POPULAR = "popularity"
IMPERSONAL = {*DISCOVERY, POPULAR, SEGMENT}


class Person(NamedTuple):
    """What is known of whom a list is for; rows of the catalogue."""

    history: Idx
    finished: Idx
    liked: Idx
    stated: Stated
    segment: str | None
    at: int


class Reasons:
    """Finds words for items.

    Args:
        titles: one an item.
        likeness: of the items.
        knowledge: the catalogue.
        min_similarity: mean cosine from which an item of the history is a reason.
        fresh_days: age up to which an item is new.
    """

    def __init__(
        self,
        titles: Sequence[str],
        likeness: Likeness,
        knowledge: Knowledge,
        min_similarity: float,
        fresh_days: float,
    ) -> None:
        self._titles, self._likeness, self._knowledge = titles, likeness, knowledge
        self._min_similarity, self._fresh = min_similarity, int(fresh_days * DAY)

    def of(self, person: Person, items: Idx, sources: Sequence[tuple[str, ...]]) -> list[str]:
        """Say one reason an item."""
        cause = self._likeness.cause(person.history, items)
        shares = self._shares(person.history)
        reasons = []
        for entry, proposed in enumerate(sources):
            item = int(items[entry])
            said = self._discovery(item, proposed, person, shares)
            personal = said is None or not IMPERSONAL.issuperset(proposed)
            if cause.cosines[entry] >= self._min_similarity and personal:
                said = self._because(int(cause.items[entry]), person)
            reasons.append(said or self._plainly(item, proposed, person))
        return reasons

    def _because(self, cause: int, person: Person) -> str:
        verb = "enjoyed"
        if cause in person.finished:
            verb = "finished"
        elif cause in person.liked:
            verb = "like"
        return f'Because you {verb} "{self._titles[cause]}"'

    def _discovery(
        self, item: int, proposed: tuple[str, ...], person: Person, shares: Array
    ) -> str | None:
        published = self._knowledge.published_at[item]
        fresh = published >= 0 and 0 <= person.at - published < self._fresh
        if CREATORS in proposed:
            return "New from a creator you like" if fresh else "From a creator you like"
        if FRESH not in proposed:
            return None
        tag = self._shared_tag(item, shares)
        return "New" if tag is None else f"New in {tag}"

    def _plainly(self, item: int, proposed: tuple[str, ...], person: Person) -> str:
        for tag in person.stated.tags:
            if tag in self._tags(item):
                return f'Because you like "{tag}"'
        if SEGMENT in proposed:
            return f'Popular with listeners of "{person.segment}"'
        known = len(person.history) or person.stated.tags
        if IMPERSONAL.issuperset(proposed) or not known:
            return "Popular with listeners"
        return "People with your taste enjoy it"

    def _shares(self, history: Idx) -> Array:
        """How many items of the history hold each tag."""
        tags = self._knowledge.tags
        return np.bincount(tags.of(history).codes, minlength=tags.num_codes)

    def _shared_tag(self, item: int, shares: Array) -> str | None:
        codes = self._knowledge.tags.of(np.array([item], np.int32)).codes
        if not len(codes) or not shares[codes].any():
            return None
        return str(self._knowledge.tags.names.ids[int(codes[np.argmax(shares[codes])])])

    def _tags(self, item: int) -> list[str]:
        tags = self._knowledge.tags
        return tags.names.id_of(tags.of(np.array([item], np.int32)).codes).to_pylist()
