"""Transcripts with times: voice activity, then Whisper where somebody speaks."""

import numpy as np
import pyarrow as pa

from avrec.embed.audio import SAMPLE_RATE
from avrec.embed.describe.config import SpeechConfig, settings_digest
from avrec.embed.describe.describer import Seen, rows
from avrec.embed.describe.voice import load_voice, speech_spans
from avrec.embed.describe.whisper import WINDOW_SECONDS, Whisper
from avrec.embed.describe.windows import in_clip, packed, sound_of
from avrec.embed.source import Source
from avrec.schema import TRANSCRIPTS


class Speech:
    """What is said when; its name holds the Whisper model and what found the speech."""

    schema = TRANSCRIPTS

    def __init__(self, config: SpeechConfig) -> None:
        source = Source(config.model, config.revision, config.batch_size, config.device)
        self.config, self.voice, self.whisper = config, load_voice(config), Whisper(source, config)
        self.name = f"{self.whisper.name}+{self.voice.name}"
        weights = f"{self.whisper.revision}+{self.voice.revision}"
        self.revision = f"{weights}.{settings_digest(config)}"

    def describe(self, clip: Seen) -> pa.Table:
        """Rows of what is said, in time order."""
        waveform = np.ascontiguousarray(clip.waveform)
        chances = self.voice.probabilities(waveform)
        spans = speech_spans(chances, len(waveform) / SAMPLE_RATE, self.config)
        windows = packed(spans, WINDOW_SECONDS, chances)
        said = self.whisper.transcribe([sound_of(window, waveform) for window in windows])
        found = []
        for window, stretches in zip(windows, said, strict=True):
            for one in stretches:
                start, stop = in_clip(window, one.start_seconds, one.stop_seconds)
                times = {"start_seconds": start, "stop_seconds": stop}
                found.append(times | {"text": one.text, "language": one.language})
        return rows(TRANSCRIPTS, found)
