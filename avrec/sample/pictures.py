"""Six kinds of moving picture, drawn: palette, shape, motion and cuts.

Frames are uint8 RGB of shape (num_frames, height, width, 3). A shape is a function of the
coordinates `x`, `y` in [-1, 1] and the angle `turn` of its motion; it gives how much of the
foreground colour each pixel has.
"""

import colorsys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from avrec.arrays import Array, Vectors

WIDTH, HEIGHT, FRAMES_PER_SECOND = 160, 120, 10

Shape = Callable[[Vectors, Vectors, Vectors], Vectors]


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
    times = np.arange(int(seconds * FRAMES_PER_SECOND), dtype=np.float32) / FRAMES_PER_SECOND
    shot = (times / look.cut_seconds).astype(int)
    jumps = rng.uniform(-1, 1, (shot[-1] + 1, 3)).astype(np.float32)
    turn = 2 * np.pi * (look.turns_per_second * times + jumps[shot, 0])
    down, right = (np.linspace(-1, 1, num, dtype=np.float32) for num in (HEIGHT, WIDTH))
    y, x = np.meshgrid(down, right, indexing="ij")
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


def disc(x: Vectors, y: Vectors, turn: Vectors) -> Vectors:
    """A soft disc on a circle."""
    away = np.hypot(x - 0.5 * np.cos(turn), y - 0.5 * np.sin(turn))
    return np.clip(2 - 4 * away, 0, 1)


def squares(x: Vectors, y: Vectors, turn: Vectors) -> Vectors:
    """A chequerboard that slides and flips."""
    return np.asarray(np.sin(7 * x + turn) * np.sin(7 * y) * np.sign(np.cos(turn)) > 0, np.float32)


def waves(x: Vectors, y: Vectors, turn: Vectors) -> Vectors:
    """Horizontal bands that roll."""
    return np.asarray(0.5 + 0.5 * np.sin(6 * y + 0.5 * np.sin(3 * x) + turn), np.float32)


def mouth(x: Vectors, y: Vectors, turn: Vectors) -> Vectors:
    """An oval face with a mouth that opens and shuts."""
    face = np.hypot(1.6 * x, 1.25 * y) < 1
    opened = np.hypot(x / 0.35, (y - 0.35) / (0.05 + 0.15 * np.abs(np.sin(turn)))) < 1
    return np.asarray(face & ~opened, np.float32)


def dots(x: Vectors, y: Vectors, turn: Vectors) -> Vectors:
    """Rows of dots that fall."""
    return np.asarray(np.cos(12 * x) + np.cos(12 * y - turn) > 1, np.float32)


def stripes(x: Vectors, y: Vectors, turn: Vectors) -> Vectors:
    """Stripes that rotate."""
    return np.asarray(np.sin(9 * (x * np.cos(turn) + y * np.sin(turn))) > 0, np.float32)


def _rgb(hue: float, saturation: float, brightness: float) -> Vectors:
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, brightness), np.float32)
