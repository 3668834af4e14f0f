"""Whisper's tokens: which are times, which may come next, and what a row of them says.

The rules are those of github.com/openai/whisper (`decoding.py`, `ApplyTimestampRules`).
"""

import math
from dataclasses import dataclass
from typing import Any

import torch

STEP_SECONDS = 0.02
FIRST_WITHIN = 50
"""Steps of 20 ms within which the first time lies."""
NEVER = float("-inf")


@dataclass(frozen=True, slots=True)
class Alphabet:
    """Ids of special tokens; all from `first_time` on are times, 20 ms apart from 0."""

    start: int
    end: int
    no_speech: int
    first_time: int
    suppressed: list[int]
    suppressed_first: list[int]
    languages: dict[str, int]
    transcribe: int | None

    @classmethod
    def of(cls, settings: Any) -> "Alphabet":
        """Read them from a generation configuration."""
        no_times = settings.no_timestamps_token_id
        multilingual = getattr(settings, "is_multilingual", False)
        return cls(
            start=settings.decoder_start_token_id,
            end=settings.eos_token_id,
            no_speech=no_times - 1,
            first_time=no_times + 1,
            suppressed=[*(settings.suppress_tokens or []), no_times],
            suppressed_first=list(settings.begin_suppress_tokens or []),
            languages=_languages(settings.lang_to_id) if multilingual else {},
            transcribe=settings.task_to_id["transcribe"] if multilingual else None,
        )

    def prompt(self, language: str) -> list[int]:
        """What the decoder is given to begin with."""
        if self.transcribe is None:
            return [self.start]
        return [self.start, self.languages[language], self.transcribe]

    def allow(self, logits: torch.Tensor, tokens: list[int]) -> torch.Tensor:
        """Log probabilities of what may follow `tokens`, shape (vocabulary,)."""
        logits = logits.clone()
        logits[self.suppressed] = NEVER
        if not tokens:
            logits[self.suppressed_first] = NEVER
            logits[: self.first_time] = NEVER
            logits[self.first_time + FIRST_WITHIN + 1 :] = NEVER
        self._pair_times(logits, tokens)
        logs = torch.log_softmax(logits, dim=-1)
        times = logs[self.first_time :].logsumexp(dim=-1)
        if times > logs[: self.first_time].max():
            logits[: self.first_time] = NEVER
            logs = torch.log_softmax(logits, dim=-1)
        return logs

    def _pair_times(self, logits: torch.Tensor, tokens: list[int]) -> None:
        """Times come in pairs, but for the last, and never go back."""
        begin = self.first_time
        last_is_time = bool(tokens) and tokens[-1] >= begin
        one_before = len(tokens) < 2 or tokens[-2] >= begin  # noqa: PLR2004
        if last_is_time and one_before:
            logits[begin:] = NEVER
        elif last_is_time:
            logits[: self.end] = NEVER
        times = [token for token in tokens if token >= begin]
        if times:
            open_pair = last_is_time and not one_before
            logits[begin : times[-1] + (0 if open_pair else 1)] = NEVER

    def stretches(self, tokens: list[int]) -> list[tuple[float, float, list[int]]]:
        """Cut tokens at their times into (start, stop, text tokens); seconds of the window.

        A text without a time after it stops at infinity.
        """
        found, text, start = list[tuple[float, float, list[int]]](), list[int](), 0.0
        for token in tokens:
            if token < self.first_time:
                text.append(token)
                continue
            at = (token - self.first_time) * STEP_SECONDS
            if text:
                found.append((start, at, text))
                text = []
            start = at
        return [*found, (start, math.inf, text)] if text else found


def _languages(ids: dict[str, int]) -> dict[str, int]:
    return {token.strip("<|>"): at for token, at in ids.items()}
