"""Why an item is in a list, in words.

Because you finished "X"        X is the most similar of the history, and was finished
Because you enjoyed "X"         ... and was not, or nobody knows
Because you like "X"            ... and is what a newcomer says to like; or X is a tag
New from a creator you like     it came out lately, and the history holds others of its creator
New in jazz                     it came out lately, and jazz is the tag that the history holds most
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from avrec.arrays import Array, Idx, Mask
from avrec.likeness import Likeness
from avrec.models.knowledge import Attribute, Knowledge
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


class _Liked(NamedTuple):
    """How many items of a history, or words, name each tag; and whether they name each creator."""

    tags: Array
    creators: Mask


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
        rows = items.tolist()
        news = self._news(person, rows, sources)
        because = self._causes(person, items)
        reasons = []
        for item, proposed, cause in zip(rows, sources, because, strict=True):
            said = news.get(item)
            if cause and (said is None or not _impersonal(proposed)):
                said = cause
            reasons.append(said or self._plainly(item, proposed, person))
        return reasons

    def _causes(self, person: Person, items: Idx) -> list[str | None]:
        """What of the history is like each item, in words; None where nothing is."""
        cause = self._likeness.cause(person.history, items)
        alike = (cause.cosines >= self._min_similarity).tolist()
        causes, finished, liked = (
            cause.items.tolist(),
            person.finished.tolist(),
            person.liked.tolist(),
        )
        verbs = dict.fromkeys(causes, "enjoyed")
        verbs |= dict.fromkeys(set(liked).intersection(causes), "like")
        verbs |= dict.fromkeys(set(finished).intersection(causes), "finished")
        titles = self._titles
        return [
            f'Because you {verbs[one]} "{titles[one]}"' if is_alike else None
            for one, is_alike in zip(causes, alike, strict=True)
        ]

    def _news(
        self, person: Person, items: Sequence[int], sources: Sequence[tuple[str, ...]]
    ) -> dict[int, str]:
        """What is said of the items that were found otherwise than by a model."""
        both = [pair for pair in zip(items, sources, strict=True) if _discovers(pair[1])]
        if not both:
            return {}
        liked = self._liked(person)
        said = {item: self._discovery(item, names, liked, person.at) for item, names in both}
        return {item: words for item, words in said.items() if words is not None}

    def _discovery(
        self, item: int, proposed: tuple[str, ...], liked: _Liked, at: int
    ) -> str | None:
        published = self._knowledge.published_at[item]
        fresh = published >= 0 and 0 <= at - published < self._fresh
        if CREATORS in proposed and liked.creators[_codes(self._knowledge.creators, item)].any():
            return "New from a creator you like" if fresh else "From a creator you like"
        if FRESH not in proposed:
            return None
        tag = self._shared_tag(item, liked.tags)
        return "New" if tag is None else f"New in {tag}"

    def _plainly(self, item: int, proposed: tuple[str, ...], person: Person) -> str:
        for tag in person.stated.tags:
            if tag in self._tags(item):
                return f'Because you like "{tag}"'
        if SEGMENT in proposed:
            return f'Popular with listeners of "{person.segment}"'
        known = len(person.history) or person.stated.tags
        if _impersonal(proposed) or not known:
            return "Popular with listeners"
        return "People with your taste enjoy it"

    def _liked(self, person: Person) -> _Liked:
        tags, creators = self._knowledge.tags, self._knowledge.creators
        held = np.bincount(tags.of(person.history).codes, minlength=tags.num_codes)
        named = tags.names.idx(list(person.stated.tags))
        held[named[named >= 0]] += 1
        followed = np.zeros(creators.num_codes, bool)
        followed[creators.of(person.history).codes] = True
        named = creators.names.idx(list(person.stated.creators))
        followed[named[named >= 0]] = True
        return _Liked(held, followed)

    def _shared_tag(self, item: int, held: Array) -> str | None:
        tags = self._knowledge.tags
        codes = _codes(tags, item)
        if not held[codes].any():
            return None
        return str(tags.names.ids[int(codes[np.argmax(held[codes])])])

    def _tags(self, item: int) -> list[str]:
        tags = self._knowledge.tags
        return tags.names.id_of(_codes(tags, item)).to_pylist()


@cache
def _impersonal(proposed: tuple[str, ...]) -> bool:
    """Tell whether none of the sources knows a taste."""
    return IMPERSONAL.issuperset(proposed)


@cache
def _discovers(proposed: tuple[str, ...]) -> bool:
    """Tell whether a source needs no model."""
    return not set(DISCOVERY).isdisjoint(proposed)


def _codes(attribute: Attribute, item: int) -> Idx:
    return attribute.codes[attribute.offsets[item] : attribute.offsets[item + 1]]
