"""Logging: one line per event, with its numbers as key=value."""

import logging
import sys


def set_up(level: int = logging.INFO) -> None:
    """Send the package's log to standard error, one line each; for jobs and servers."""
    logger = logging.getLogger("avrec")
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False


def pairs(**fields: object) -> str:
    """Write fields as `key=value` words.

    >>> pairs(stage="embed", seconds=1.5)
    'stage=embed seconds=1.5'
    """
    return " ".join(f"{key}={_word(value)}" for key, value in fields.items())


def _word(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return repr(text) if any(c.isspace() for c in text) else text
