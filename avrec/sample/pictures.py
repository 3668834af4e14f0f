"""Six kinds of moving picture, drawn: palette, shape, motion and cuts.

Frames are uint8 RGB of shape (num_frames, height, width, 3). A shape is a function of the
coordinates `x`, `y` in [-1, 1] and the angle `turn` of its motion; it gives how much of the
foreground colour each pixel has.
"""

import colorsys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from avrec.arrays import Array, Values

WIDTH, HEIGHT, FRAMES_PER_SECOND = 160, 120, 10

Shape = Callable[[Values, Values, Values], Values]


@dataclass(frozen=True, slots=True)
class Look:
    """What the pictures of one kind have in common."""

    shape: Shape
    """What moves."""
    hue: float
    """Of the background, in turns of the colour circle; a clip departs from it by 0.04."""
    saturation: float
    """Of the background; 0 is grey."""
    brightness: float
    """Of the background; the foreground has what is left to 1."""
    turns_per_second: float
    """Speed of the motion."""
    cut_seconds: float
    """Length of a shot; at a cut, shape and shade jump elsewhere."""


def draw(look: Look, seconds: float, rng: np.random.Generator) -> Array:
    """Draw the frames of one clip."""
    times = np.arange(int(seconds * FRAMES_PER_SECOND)) / FRAMES_PER_SECOND
    shot = (times / look.cut_seconds).astype(int)
    jumps = rng.uniform(-1, 1, (shot[-1] + 1, 3))
    turn = 2 * np.pi * (look.turns_per_second * times + jumps[shot, 0])
    y, x = np.meshgrid(np.linspace(-1, 1, HEIGHT), np.linspace(-1, 1, WIDTH), indexing="ij")
    shares = look.shape(
        x - 0.3 * jumps[shot, 1, None, None],
        y - 0.2 * jumps[shot, 2, None, None],
        turn[:, None, None],
    )
    hue = look.hue + rng.uniform(-0.04, 0.04)
    back = _rgb(hue, look.saturation, look.brightness) * (1 + 0.15 * jumps[shot, 0, None])
    front = _rgb(hue + rng.uniform(0.4, 0.6), 0.6, 1.1 - look.brightness)
    mixed = back[:, None, None] + shares[..., None] * (front - back[:, None, None])
    return np.asarray(np.clip(255 * mixed, 0, 255).astype(np.uint8))


def disc(x: Values, y: Values, turn: Values) -> Values:
    """A soft disc on a circle."""
    away = np.hypot(x - 0.5 * np.cos(turn), y - 0.5 * np.sin(turn))
    return np.clip(2 - 4 * away, 0, 1)


def squares(x: Values, y: Values, turn: Values) -> Values:
    """A chequerboard that slides and flips."""
    return np.asarray(np.sin(7 * x + turn) * np.sin(7 * y) * np.sign(np.cos(turn)) > 0, np.float64)


def waves(x: Values, y: Values, turn: Values) -> Values:
    """Horizontal bands that roll."""
    return 0.5 + 0.5 * np.sin(6 * y + 0.5 * np.sin(3 * x) + turn)


def mouth(x: Values, y: Values, turn: Values) -> Values:
    """An oval face with a mouth that opens and shuts."""
    face = np.hypot(1.6 * x, 1.25 * y) < 1
    opened = np.hypot(x / 0.35, (y - 0.35) / (0.05 + 0.15 * np.abs(np.sin(turn)))) < 1
    return np.asarray(face & ~opened, np.float64)


def dots(x: Values, y: Values, turn: Values) -> Values:
    """Rows of dots that fall."""
    return np.asarray(np.cos(12 * x) + np.cos(12 * y - turn) > 1, np.float64)


def stripes(x: Values, y: Values, turn: Values) -> Values:
    """Stripes that rotate."""
    return np.asarray(np.sin(9 * (x * np.cos(turn) + y * np.sin(turn))) > 0, np.float64)


def _rgb(hue: float, saturation: float, brightness: float) -> Values:
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, brightness))
