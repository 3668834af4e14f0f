"""Six kinds of sound, synthesised: each is a function of a length and a generator.

A waveform is mono float32 in [-0.7, 0.7] at `SAMPLE_RATE`.
"""

from collections.abc import Callable

import numpy as np

from avrec.arrays import Values, Waveform

SAMPLE_RATE = 16_000
CONTROL_HZ, PAUSE_SHARE = 100, 0.15
MAJOR, MINOR, PENTATONIC = (0, 4, 7, 12), (0, 3, 7, 10), (0, 2, 4, 7, 9, 12)
VOWEL_FORMANTS_HZ = ((730, 1090), (270, 2290), (300, 870), (530, 1840), (570, 840), (440, 1020))

Sound = Callable[[float, np.random.Generator], Waveform]


def club(seconds: float, rng: np.random.Generator) -> Waveform:
    """A fast kick drum, hats between, and a square bass in a minor chord."""
    times = _times(seconds)
    beat = times * rng.uniform(138, 152) / 60
    since = np.mod(beat, 1)
    kick = np.sin(2 * np.pi * 55 * since) * np.exp(-9 * since)
    hat = rng.normal(size=len(times)) * np.exp(-40 * np.mod(beat + 0.5, 1))
    step = np.asarray(MINOR)[(beat * 2).astype(int) % 4]
    bass = np.sign(np.sin(_phase(_note(110 * rng.uniform(0.9, 1.1), step))))
    return _peak(kick + 0.3 * hat + 0.2 * bass)


def haze(seconds: float, rng: np.random.Generator) -> Waveform:
    """A slow pad: three detuned partials of each note of a major chord, swelling."""
    times = _times(seconds)
    root = rng.uniform(180, 240)
    swell = 1 + 0.4 * np.sin(2 * np.pi * 0.3 * times + rng.uniform(0, 6))
    voices = [
        np.sin(2 * np.pi * _note(root, step) * part * (1 + rng.normal(0, 0.002)) * times) / part**2
        for step in MAJOR
        for part in (1, 2, 3)
    ]
    return _peak(swell * np.sum(voices, axis=0))


def surf(seconds: float, rng: np.random.Generator) -> Waveform:
    """Noise that falls by 1/f, coming and going like waves."""
    times = _times(seconds)
    spectrum = np.fft.rfft(rng.normal(size=len(times)))
    spectrum /= np.maximum(np.arange(len(spectrum)), 200) ** rng.uniform(0.4, 0.7)
    noise = np.fft.irfft(spectrum, len(times))
    return _peak(noise * (1.2 + np.sin(2 * np.pi * rng.uniform(0.3, 0.5) * times)))


def babble(seconds: float, rng: np.random.Generator) -> Waveform:
    """Speech-like: harmonics of a voice shaped by two formants that change with each syllable."""
    ticks = int(seconds * CONTROL_HZ)
    syllable = (np.arange(ticks) * rng.uniform(3.5, 4.5) / CONTROL_HZ).astype(int)
    count = syllable[-1] + 1
    pitch = (rng.uniform(95, 210) * rng.uniform(0.85, 1.2, count))[syllable]
    formants = np.asarray(VOWEL_FORMANTS_HZ)[rng.integers(len(VOWEL_FORMANTS_HZ), size=count)]
    loud = (rng.uniform(size=count) > PAUSE_SHARE)[syllable] * np.abs(
        np.sin(np.pi * _within(syllable))
    )
    phase = _phase(_to_samples(pitch, seconds))
    voice = np.zeros(len(phase))
    for part in range(1, 24):
        apart = (part * pitch[:, None] - formants[syllable]) / np.array([90, 130])
        voice += _to_samples(loud * np.exp(-(apart**2)).sum(axis=1), seconds) * np.sin(part * phase)
    return _peak(voice + 0.01 * rng.normal(size=len(voice)))


def chimes(seconds: float, rng: np.random.Generator) -> Waveform:
    """Bells at a walking pace: inharmonic partials of a pentatonic scale, ringing out."""
    times = _times(seconds)
    root, pace = rng.uniform(480, 620), 60 / rng.uniform(84, 96) / 2
    sound = np.zeros(len(times))
    for struck in np.arange(0, seconds, pace):
        since = times[int(struck * SAMPLE_RATE) :] - struck
        note = _note(root, rng.choice(PENTATONIC))
        for part, fade in ((1, 3), (2.76, 5), (5.4, 8)):
            sound[-len(since) :] += np.sin(2 * np.pi * note * part * since) * np.exp(-fade * since)
    return _peak(sound)


def engine(seconds: float, rng: np.random.Generator) -> Waveform:
    """A low saw that trembles and slowly climbs, over a hiss."""
    times = _times(seconds)
    speed = rng.uniform(42, 60) * (1 + 0.3 * times / seconds)
    saw = np.mod(_phase(speed) / np.pi, 2) - 1
    tremble = 1 + 0.8 * np.sin(2 * np.pi * rng.uniform(11, 14) * times)
    return _peak(saw * tremble + 0.1 * rng.normal(size=len(times)))


def _times(seconds: float) -> Values:
    return np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE


def _note(root_hz: float, semitones: Values | float) -> Values:
    return np.asarray(root_hz * 2 ** (np.asarray(semitones) / 12))


def _phase(frequency_hz: Values) -> Values:
    return 2 * np.pi * np.cumsum(frequency_hz) / SAMPLE_RATE


def _within(group: Values) -> Values:
    """Place of each entry in its run of equal values, in [0, 1)."""
    start = np.searchsorted(group, group)
    length = np.bincount(group)[group]
    return (np.arange(len(group)) - start) / length


def _to_samples(control: Values, seconds: float) -> Values:
    ticks = np.arange(len(control)) / CONTROL_HZ
    return np.interp(_times(seconds), ticks, control)


def _peak(sound: Values) -> Waveform:
    return (0.7 * sound / np.abs(sound).max()).astype(np.float32)
