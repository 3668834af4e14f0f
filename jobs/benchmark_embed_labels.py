"""What the labels of the shared media let us expect of the tags, and how often it is found.

A tag is right where any of the classes that a describer writes by its defaults is expected: of a
cow's sound, not `Animal` but `Cattle, bovinae` or its neighbours. Classes are given as the first
and last of a range in AudioSet's order. Files whose label does not tell how they sound are left
out, as are broken ones.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from avrec.embed.describe.safety import Safety
from avrec.embed.describe.sounds import Sounds
from avrec.embed.describe.speech import Speech
from avrec.embed.describe.voice import speech_spans
from avrec.media.decode import Clip
from avrec.media.sampling import SAMPLE_RATE

Ranges = tuple[tuple[str, str], ...]
ANIMALS: Ranges = (("Animal", "Whale vocalization"),)
SPEECH: Ranges = (("Speech", "Narration, monologue"),)
MUSIC: Ranges = (("Music", "Music"),)
SHOUTS: Ranges = (("Shout", "Screaming"),)

EVENTS: dict[str, Ranges] = {
    "animals/birds": (("Fowl", "Honk"), ("Bird", "Bird flight, flapping wings")),
    "animals/insects": (("Insect", "Bee, wasp, etc."),),
    "animals/mammals/aquatic": (("Whale vocalization", "Whale vocalization"),),
    "animals/mammals/bovines": (("Livestock, farm animals, working animals", "Sheep"),),
    "animals/mammals/cats": (("Cat", "Caterwaul"), ("Roaring cats (lions, tigers)", "Roar")),
    "animals/mammals/dogs": (("Dog", "Whimper (dog)"), ("Canidae, dogs, wolves",) * 2),
    "animals/mammals/equines": (("Horse", "Neigh, whinny"),),
    "animals/mammals/rodents": (("Rodents, rats, mice", "Patter"),),
    "animals": ANIMALS,
    "bird": (("Bird", "Bird flight, flapping wings"),),
    "whale": (("Whale vocalization", "Whale vocalization"),),
    "dog": (("Dog", "Whimper (dog)"),),
    "hobbies/music": (*MUSIC, ("Musical instrument", "Singing bowl")),
    "household/arttools": (("Scissors", "Scissors"),),
    "household/tools": (("Tools", "Drill"),),
    "seasonal/newyears": (("Explosion", "Boom"),),
    "vehicles/emergency": (("Emergency vehicle", "Fire engine, fire truck (siren)"),),
    "symbols/alphabets": SPEECH,
    "symbols/math": SPEECH,
}
GENRES: dict[str, Ranges] = {
    "classical": (("Classical music", "Opera"),),
    "waltz": (("Classical music", "Opera"),),
    "orchestral game": (("Classical music", "Opera"), ("Soundtrack music", "Video game music")),
    "electronic": (("Electronic music", "Trance music"),),
    "metal": (("Rock music", "Psychedelic rock"),),
    "rock": (("Rock music", "Psychedelic rock"),),
}
EMOTIONS: dict[str, Ranges] = {
    "Excited!": (*SHOUTS, ("Laughter", "Chuckle, chortle"), ("Cheering", "Applause")),
    "Mad!": (*SHOUTS, ("Growling", "Growling"), ("Angry music", "Angry music")),
    "Sad!": (("Crying, sobbing", "Sigh"), ("Sad music", "Sad music")),
}
DRAWN = ("animation", "cartoon", "game cutscene")


class Lookers(NamedTuple):
    """What is judged."""

    sounds: Sounds
    safety: Safety
    speech: Speech


class Verdict(NamedTuple):
    """Whether one thing that was found of a clip is right, and what was found."""

    what: str
    group: str
    right: bool
    found: str


def judged(row: dict[str, Any], clip: Clip, lookers: Lookers) -> Iterator[Verdict]:
    """Judge what is found of a clip, as far as its row in the manifest lets us."""
    if len(clip.waveform):
        yield from _heard(row, clip, lookers.sounds)
        yield from _voice(row, clip, lookers.speech)
    if len(clip.frames):
        yield from _safety(row, clip, lookers.safety)


def _heard(row: dict[str, Any], clip: Clip, sounds: Sounds) -> Iterator[Verdict]:
    tags = Counter[str]()
    for found in sounds.describe(clip).to_pylist():
        tags[found["label"]] = max(tags[found["label"]], found["score"])
    label = row["label"]
    if row["kind"] == "speech":
        yield _tagged("sound", "speech", tags, SPEECH, sounds.labels)
    if row["kind"] == "music":
        yield _tagged("sound", "music", tags, MUSIC, sounds.labels)
    if label in GENRES:
        yield _tagged("genre", label, tags, GENRES[label], sounds.labels)
    if row["title"] in EMOTIONS:
        yield _tagged("emotion", row["title"], tags, EMOTIONS[row["title"]], sounds.labels)
    prefix = _longest_prefix(label)
    if row["kind"] == "sound" and prefix:
        yield _tagged("sound", prefix, tags, EVENTS[prefix], sounds.labels)


def _longest_prefix(label: str) -> str:
    fitting = [one for one in EVENTS if f"{label}/".startswith(f"{one}/")]
    return max(fitting, default="", key=len)


def _tagged(
    what: str, group: str, tags: Counter[str], ranges: Ranges, labels: Sequence[str]
) -> Verdict:
    places = [(labels.index(first), labels.index(last)) for first, last in ranges]
    expected = {label for first, last in places for label in labels[first : last + 1]}
    best = [label for label, _ in tags.most_common()]
    return Verdict(what, group, bool(expected & tags.keys()), best[0] if best else "nothing")


def _voice(row: dict[str, Any], clip: Clip, speech: Speech) -> Iterator[Verdict]:
    """Speech has to be found where there is some, and nowhere in music and among animals."""
    speaks = row["kind"] == "speech"
    if not speaks and row["kind"] != "music" and not row["label"].startswith("animals"):
        return
    seconds = len(clip.waveform) / SAMPLE_RATE
    spans = speech_spans(speech.voice.probabilities(clip.waveform), seconds, speech.config)
    group = "speech" if speaks else "music" if row["kind"] == "music" else "animals"
    yield Verdict("voice", group, bool(spans) == speaks, "speech" if spans else "none")
    if not speaks:
        said = " ".join(speech.describe(clip)["text"].to_pylist())
        yield Verdict("no words said", group, not said, said[:20])


def _safety(row: dict[str, Any], clip: Clip, safety: Safety) -> Iterator[Verdict]:
    """Nothing in the shared media is harmful, so only false alarms can be counted."""
    if row["kind"] != "video":
        return
    rows = safety.describe(clip).to_pylist()
    means = Counter[str]()
    for found in rows:
        if found["kind"] == "safety_mean":
            means[found["label"]] += found["score"]
    ((best, _),) = means.most_common(1)
    drawn = row["label"] in DRAWN
    expected = "drawing" if drawn else "neutral"
    yield Verdict("picture", "drawn" if drawn else "filmed", best == expected, best)
    for kind, what in (("safety", "flag by any frame"), ("safety_mean", "flag by the mean")):
        mine = [found for found in rows if found["kind"] == kind]
        raised = {found["label"] for found in mine if _reaches(found, safety)}
        yield Verdict(what, "harmless film", not raised, ", ".join(sorted(raised)))


def _reaches(found: dict[str, Any], safety: Safety) -> bool:
    return found["score"] >= safety.thresholds.get(found["label"], 2.0)


def table(verdicts: Iterable[Verdict]) -> list[str]:
    """Lines of a Markdown table, a row a group."""
    groups: dict[tuple[str, str], list[Verdict]] = defaultdict(list)
    for one in verdicts:
        groups[one.what, one.group].append(one)
    lines = ["| what | label | clips | right | found instead |", "|---|---|---|---|---|"]
    for (what, group), mine in sorted(groups.items()):
        wrong = Counter(one.found for one in mine if not one.right)
        instead = ", ".join(f"{found} {n}" for found, n in wrong.most_common(4))
        right = sum(one.right for one in mine)
        lines.append(f"| {what} | {group} | {len(mine)} | {right} | {instead} |")
    return lines
