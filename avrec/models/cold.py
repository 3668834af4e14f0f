"""Vectors for items that nobody has played, foretold from their content.

For features `X` of the content and learned vectors `Y` of the warm items, both less their means,
the map

    W = argmin |X W - Y|^2 + reg |W|^2  =  (X'X + reg I)^-1 X'Y  =  X' (X X' + reg I)^-1 Y

is solved in its smaller form. A ridge pulls to the mean, so what it foretells is stretched until
the warm items' vectors, foretold, have the root mean square length of the learned ones.

Features are the content itself, or those of a kernel of likeness (`avrec.models.landmarks`), with
which the map follows what content has in common beyond a straight line; how much each modality
counts in it can be learned (`avrec.models.cold_weights`). The learned vectors may be those of ALS,
of towers or of any other model; aligning what is learned with what is known of the items in closed
form follows MARec (Monteil et al., RecSys 2024).
"""

from dataclasses import dataclass, replace

import numpy as np

from avrec.arrays import Array, Values, Vector, Vectors, unit
from avrec.embed.pool import Content
from avrec.errors import ArtifactError
from avrec.factors import Factors
from avrec.models import cold_weights
from avrec.models.fields import FIELD, FieldsConfig
from avrec.models.landmarks import Landmarks, known, landmarks
from avrec.store import Artifact, Draft
from avrec.vocab import Vocabulary


@dataclass(frozen=True, kw_only=True, slots=True)
class ColdConfig:
    """How cold items are filled."""

    reg: float = 1.0
    """L2 penalty of the map from content to factors; content vectors are unit."""
    scale: float = 1.0
    """Length of what is foretold, relative to the learned vectors; below 1 is cautious."""
    sharpness: float = 0.0
    """How fast likeness falls with the cosine of two contents; 0 is a straight map of content."""
    max_landmarks: int = 2048
    """Items, at most, that likeness is measured to; the cost of a fit grows with their cube."""
    weight_steps: int = 0
    """Steps in which weights of the modalities, sharpness and reg are learned; at 0 modalities
    weigh alike, and the other two are as given."""

    def __post_init__(self) -> None:
        for key in ("reg", "scale"):
            if not 0 < getattr(self, key) < np.inf:
                raise ValueError(f"{key} must be above 0 and finite, got {getattr(self, key)}")
        if not 0 <= self.sharpness < np.inf:
            raise ValueError(f"sharpness must be at least 0 and finite, got {self.sharpness}")
        if self.max_landmarks < 1:
            raise ValueError(f"max_landmarks must be at least 1, got {self.max_landmarks}")
        if self.weight_steps < 0:
            raise ValueError(f"weight_steps must be at least 0, got {self.weight_steps}")


@dataclass(frozen=True, slots=True)
class ContentMap:
    """From content to the space of learned vectors: `(features - x_mean) W + y_mean`.

    `columns`, where given, scales those of joined content before they are made unit again.
    """

    likeness: Landmarks | None
    x_mean: Values
    y_mean: Values
    weights: Values
    columns: Vector | None = None

    def vectors(self, content: Vectors) -> Vectors:
        """Vectors (n, dim) of unit content, which may be of items made a moment ago.

        A row of zeros, of which nothing is known, has zeros.
        """
        told = content if self.columns is None else _scaled(content, self.columns)
        features = _features(told, self.likeness)
        found = (features - self.x_mean) @ self.weights + self.y_mean
        return np.asarray(found * known(content)[:, None], np.float32)


def learn(factors: Factors, content: Vectors, config: ColdConfig) -> ContentMap | None:
    """Learn the map from the items that have both a learned vector and content; None without.

    Args:
        factors: learned vectors; a zero row is an unknown item.
        content: one vector a catalogue row, shape (num_items, any); a zero row is missing.
        config: penalty, length and likeness.
    """
    if len(content) != len(factors.vectors):
        raise ValueError(
            f"content must have one row an item, got {len(content)} for {len(factors.vectors)}"
        )
    warm = factors.known() & known(content)
    if not warm.any():
        return None
    likeness = None
    if config.sharpness:
        likeness = landmarks(content[warm], config.sharpness, config.max_landmarks)
    X = _features(content[warm], likeness).astype(np.float64)
    Y = factors.vectors[warm].astype(np.float64)
    x_mean, y_mean = X.mean(axis=0), Y.mean(axis=0)
    W = _ridge(X - x_mean, Y - y_mean, config.reg)
    again = (X - x_mean) @ W + y_mean
    stretch = config.scale * _length(Y) / max(_length(again), np.finfo(np.float64).tiny)
    return ContentMap(likeness, x_mean, stretch * y_mean, stretch * W)


def learn_from(factors: Factors, content: Content, config: ColdConfig) -> ContentMap | None:
    """Learn the map from joined modalities, weighed as `weight_steps` says; see `learn`."""
    joined = content.joined()
    warm = factors.known() & known(joined)
    if not config.weight_steps or not warm.any():
        return learn(factors, joined, config)
    parts = [content.modalities[name] for name in sorted(content.modalities)]
    told = [rows[warm] for rows in parts]
    found = cold_weights.learn(factors.vectors[warm], told, config.weight_steps)
    widths = [rows.shape[1] for rows in parts]
    columns = np.repeat(np.sqrt(found.weights), widths).astype(np.float32)
    settings = replace(config, reg=found.reg, sharpness=found.sharpness)
    learned = learn(factors, _scaled(joined, columns), settings)
    return None if learned is None else replace(learned, columns=columns)


def fill_cold(factors: Factors, content: Vectors, config: ColdConfig) -> Factors:
    """Give each unknown item that has content a vector; the known ones stay as they are.

    Args:
        factors: learned vectors; a zero row is an unknown item.
        content: one vector a catalogue row, shape (num_items, any); a zero row is missing.
        config: penalty, length and likeness.
    """
    return filled(factors, content, learn(factors, content, config))


def filled(factors: Factors, content: Vectors, learned: ContentMap | None) -> Factors:
    """Give each unknown item that has content what the map foretells; without a map, nothing."""
    cold = ~factors.known() & known(content)
    vectors = factors.vectors.copy()
    if learned is not None and cold.any():
        vectors[cold] = learned.vectors(content[cold])
    return Factors(factors.vocabulary, vectors)


def extend(factors: Factors, items: Vocabulary, content: Vectors, learned: ContentMap) -> Factors:
    """Bring learned vectors to a catalogue that has grown; new items get theirs from content.

    Args:
        factors: vectors over the catalogue as it was.
        items: the catalogue as it is; what is gone from it is left out.
        content: one vector a row of `items`, of the same encoders.
        learned: the map into the space of `factors`.
    """
    row = factors.vocabulary.idx(items.ids)
    vectors = learned.vectors(content)
    vectors[row >= 0] = factors.vectors[row[row >= 0]]
    return Factors(items, vectors)


def save(learned: ContentMap, content: Content, draft: Draft, name: str) -> None:
    """Write `NAME.cold.safetensors` and `NAME.cold.json`, beside the model of that name.

    Args:
        learned: a map into the space of that model.
        content: what it was learned from; which modalities it has is noted.
        draft: where the model is written too.
        name: the model's.
    """
    likeness = learned.likeness
    facts = {
        "modalities": _widths(content),
        "sharpness": None if likeness is None else likeness.sharpness,
    }
    draft.add_tensors(f"{name}.cold.safetensors", _tensors(learned))
    draft.add_json(f"{name}.cold.json", facts)


def load(artifact: Artifact, name: str, content: Content) -> ContentMap | None:
    """Read what `save` wrote beside the model `name`; None where there was nothing to learn from.

    Args:
        artifact: holds the model; a bundle does.
        name: the model's.
        content: of the items whose vectors will be asked for.

    Raises:
        ArtifactError: the map reads other modalities than `content` has.
    """
    if f"{name}.cold.json" not in artifact.names(f"{name}.cold."):
        return None
    facts = artifact.json(f"{name}.cold.json")
    if facts["modalities"] != _widths(content):
        raise ArtifactError(
            f"vectors of new items by {name} need the modalities {facts['modalities']}, "
            f"but there are {_widths(content)}; run train_{name} again"
        )
    tensors = artifact.tensors(f"{name}.cold.safetensors")
    likeness = None
    if facts["sharpness"] is not None:
        likeness = Landmarks(tensors["points"], tensors["lower"], facts["sharpness"])
    x_mean, y_mean, weights = (tensors[one] for one in ("x_mean", "y_mean", "weights"))
    return ContentMap(likeness, x_mean, y_mean, weights, tensors.get("columns"))


def fields_of(artifact: Artifact, name: str) -> FieldsConfig:
    """Tell which fields the map beside the model `name` reads."""
    read = artifact.json(f"{name}.cold.json")["modalities"]
    named = [one.removeprefix(FIELD) for one in read if one.startswith(FIELD)]
    return FieldsConfig(names=tuple(named))


def _tensors(learned: ContentMap) -> dict[str, Array]:
    found: dict[str, Array] = {
        name: getattr(learned, name) for name in ("x_mean", "y_mean", "weights")
    }
    if learned.columns is not None:
        found["columns"] = learned.columns
    if learned.likeness is not None:
        found |= {name: getattr(learned.likeness, name) for name in ("points", "lower")}
    return found


def _widths(content: Content) -> dict[str, int]:
    return {name: rows.shape[1] for name, rows in sorted(content.modalities.items())}


def _scaled(content: Vectors, columns: Vector) -> Vectors:
    return unit(np.asarray(content * columns, np.float32))


def _features(content: Vectors, likeness: Landmarks | None) -> Vectors:
    return content if likeness is None else likeness.features(content)


def _ridge(X: Values, Y: Values, reg: float) -> Values:
    num_rows, dim = X.shape
    if dim <= num_rows:
        return np.asarray(np.linalg.solve(X.T @ X + reg * np.eye(dim), X.T @ Y))
    return np.asarray(X.T @ np.linalg.solve(X @ X.T + reg * np.eye(num_rows), Y))


def _length(rows: Values) -> float:
    return float(np.sqrt((rows**2).sum(axis=1).mean()))
