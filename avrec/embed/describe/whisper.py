"""Whisper, with times and with doubts.

After Radford et al., "Robust speech recognition via large-scale weak supervision" (2022), section
4.5: a window whose text repeats itself, or is improbable, is decoded again at a higher temperature.
A window is decoded as if it were alone, whatever is beside it.
"""

import zlib
from dataclasses import dataclass

import numpy as np
import torch
import transformers

from avrec.arrays import Values, Waveform
from avrec.embed.audio import SAMPLE_RATE
from avrec.embed.describe.config import SpeechConfig
from avrec.embed.describe.whisper_decode import Guess, decode, likelihoods
from avrec.embed.describe.whisper_tokens import Alphabet
from avrec.embed.source import Source

WINDOW_SECONDS = 30.0
SHORT_SECONDS, LEAD_SECONDS = 2.0, 0.5
"""A window shorter than this is led up to by silence: a word alone is missed at the beginning."""


@dataclass(frozen=True, slots=True)
class Said:
    """A stretch [start, stop) of a window, seconds, and what is said in it."""

    start_seconds: float
    stop_seconds: float
    text: str
    language: str


class Whisper:
    """A Whisper model of any size, English or multilingual."""

    def __init__(self, source: Source, config: SpeechConfig) -> None:
        self.model = source.model_from(transformers.WhisperForConditionalGeneration, ("proj_out",))
        self.name, self.revision = source.name, source.revision_of(self.model)
        self.config, self.device = config, source.device
        self.features = transformers.WhisperFeatureExtractor.from_pretrained(**source.place)
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(**source.place)
        self.alphabet = Alphabet.of(self.model.generation_config)
        if config.language and self.alphabet.languages and config.language not in self.languages:
            raise ValueError(f"language must be one of {self.languages}, got {config.language!r}")

    @property
    def languages(self) -> list[str]:
        """Codes of the languages that it tells apart; none for a model of English alone."""
        return sorted(self.alphabet.languages)

    @torch.inference_mode()
    def transcribe(self, windows: list[Waveform]) -> list[list[Said]]:
        """What is said in each window, at most 30 s long."""
        found, size = list[list[Said]](), self.config.batch_size
        for start in range(0, len(windows), size):
            batch = windows[start : start + size]
            states = self._states(batch)
            languages = self._languages(states)
            guesses = self._guesses(states, languages)
            found += [self._said(*one) for one in zip(guesses, languages, batch, strict=True)]
        return found

    @torch.inference_mode()
    def chances(self, window: Waveform, texts: list[str]) -> Values:
        """Probability of each text as the whole of what is said, without times; for closed lists.

        English is spoken, where the model tells languages apart and none is configured.
        """
        ids = [self.tokenizer.encode(text, add_special_tokens=False) for text in texts]
        prompt = [*self.alphabet.prompt(self.config.language or "en"), self.alphabet.first_time - 1]
        states = self._states([window]).expand(len(ids), -1, -1)
        return likelihoods(self.model, states, prompt, ids, self.alphabet.end)

    def _states(self, batch: list[Waveform]) -> torch.Tensor:
        sounds = [np.pad(window, (_lead_samples(window), 0)) for window in batch]
        features = self.features(sounds, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        encoder = self.model.get_encoder()
        return encoder(features.input_features.to(self.device)).last_hidden_state

    def _languages(self, states: torch.Tensor) -> list[str]:
        """The most likely language of each window, of those that have a token."""
        known = self.alphabet.languages
        if self.config.language or not known:
            return [self.config.language or "en"] * len(states)
        start = torch.full((len(states), 1), self.alphabet.start, device=self.device)
        output = self.model(encoder_outputs=(states,), decoder_input_ids=start)
        best = output.logits[:, -1, list(known.values())].argmax(dim=-1)
        return [list(known)[row] for row in best.tolist()]

    def _guesses(self, states: torch.Tensor, languages: list[str]) -> list[Guess | None]:
        """The first guess without a doubt, or else the likeliest that does not repeat itself."""
        kept: list[Guess | None] = [None] * len(states)
        open_rows = list(range(len(states)))
        for temperature in self.config.temperatures:
            if not open_rows:
                break
            named = [languages[row] for row in open_rows]
            guesses = self._decode(states[open_rows], named, temperature)
            doubted = []
            for row, guess in zip(open_rows, guesses, strict=True):
                kept[row] = self._better(kept[row], guess)
                if self._repeats(guess) or self._improbable(guess):
                    doubted.append(row)
            open_rows = doubted
        return [None if guess and self._silent(guess) else guess for guess in kept]

    def _better(self, kept: Guess | None, guess: Guess) -> Guess | None:
        if self._repeats(guess) or (kept and kept.logprob >= guess.logprob):
            return kept
        return guess

    def _repeats(self, guess: Guess) -> bool:
        text = self._text(guess.tokens).encode()
        return bool(text) and len(text) / len(zlib.compress(text)) > self.config.max_compression

    def _silent(self, guess: Guess) -> bool:
        improbable = guess.logprob < self.config.min_logprob
        return improbable and guess.no_speech > self.config.max_no_speech

    def _improbable(self, guess: Guess) -> bool:
        return guess.logprob < self.config.min_logprob and not self._silent(guess)

    def _decode(
        self, states: torch.Tensor, languages: list[str], temperature: float
    ) -> list[Guess]:
        prompts = torch.tensor([self.alphabet.prompt(name) for name in languages])
        return decode(self.model, states, prompts, self.alphabet, temperature)

    def _said(self, guess: Guess | None, language: str, window: Waveform) -> list[Said]:
        if guess is None:
            return []
        seconds, lead = (n / SAMPLE_RATE for n in (len(window), _lead_samples(window)))
        said = []
        for start, stop, tokens in self.alphabet.stretches(guess.tokens):
            first, last = (_within(at - lead, seconds) for at in (start, stop))
            said.append(Said(first, last, self._text(tokens), language))
        return [one for one in said if one.text]

    def _text(self, tokens: list[int]) -> str:
        words = [token for token in tokens if token < self.alphabet.end]
        return self.tokenizer.decode(words, skip_special_tokens=True).strip()


def _lead_samples(window: Waveform) -> int:
    short = len(window) < SHORT_SECONDS * SAMPLE_RATE
    return round(LEAD_SECONDS * SAMPLE_RATE) if short else 0


def _within(at_seconds: float, seconds: float) -> float:
    return min(max(at_seconds, 0.0), seconds)
