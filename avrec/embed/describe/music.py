"""Which classes of AudioSet are kinds of music: genres, roles and moods.

From the ontology of Gemmeke et al., "Audio Set: an ontology and human-labeled dataset for audio
events" (2017), github.com/audioset/ontology: of the branch "Music", all but the musical
instruments, which are events. In AudioSet's order of classes, which YAMNet keeps, these are
"Music", and all from "Pop music" to "Scary music".
"""

from collections.abc import Sequence

MUSIC, FIRST_GENRE, LAST_MOOD = "Music", "Pop music", "Scary music"


def is_music(labels: Sequence[str]) -> list[bool]:
    """Tell for each class of a model whether it is a kind of music.

    Of a model without AudioSet's classes, those are whose name holds the word.
    """
    if not {MUSIC, FIRST_GENRE, LAST_MOOD} <= set(labels):
        return ["music" in label.lower() for label in labels]
    first, last = labels.index(FIRST_GENRE), labels.index(LAST_MOOD)
    return [label == MUSIC or first <= row <= last for row, label in enumerate(labels)]
