"""How the causal user towers are built and trained."""

from dataclasses import dataclass

from avrec.models import negatives, user_towers

USERS = ("attention", *user_towers.KINDS)
PLACES = ("end", "start")
SIMILARITIES = ("cosine", "dot")
LOSSES = ("softmax", "sampled", "gbce")
FREQUENCIES = ("counts", "stream", "none")


@dataclass(frozen=True, kw_only=True, slots=True)
class SequenceConfig:
    """Section `[towers.sequence]`."""

    num_blocks: int = 2
    """Blocks of the user tower, one upon the other."""
    dropout: float = 0.2
    """Share of what goes into the blocks, and of what each adds, that training drops."""
    places: str = "end"
    """Where "sasrec", "ligr" and "hstu" count places from: the "end" of what is read, as SASRec was
    published, or its "start", by which a short history is read as the beginnings of long ones were
    in training: better lists for people with few events."""
    with_times: bool = False
    """Whether a step tells the time since the one before."""
    with_weights: bool = False
    """Whether a step tells its interaction's weight."""
    with_kinds: bool = False
    """Whether a step tells what kind of event told the most of it: a like, a play to the end."""
    with_shares: bool = False
    """Whether a step tells the share watched."""
    similarity: str = "cosine"
    """What is learned: "cosine" (see `temperature`) or "dot", of vectors of any length."""
    max_windows: int = 4
    """Latest windows of `history_length` + 1 items that training takes of one history."""
    loss: str = "softmax"
    """Over the whole catalogue, "softmax"; with negatives, "sampled" (softmax) or "gbce"."""
    negatives: str = "mixed"
    """Where negatives come from: "uniform", "popularity", "in_batch" or "mixed"."""
    num_negatives: int = 256
    """Negatives that a batch shares."""
    batch_share: float = 0.5
    """For "mixed", the share that comes from the batch; the others are drawn evenly."""
    frequencies: str = "counts"
    """How the sampled softmax corrects for how often a negative is drawn: by "counts" of all
    targets, by an estimate from the "stream" of batches, or not: "none"."""
    calibration: float = 0.75
    """For "gbce", from 0, plain binary cross entropy, to 1."""
    average: float = 0.0
    """Decay of a moving average over steps of the weights, which is what is kept; 0 for none."""

    def __post_init__(self) -> None:
        for name, allowed in (
            ("places", PLACES),
            ("similarity", SIMILARITIES),
            ("loss", LOSSES),
            ("negatives", negatives.KINDS),
            ("frequencies", FREQUENCIES),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be among {allowed}, got {getattr(self, name)!r}")
        for name in ("num_blocks", "max_windows", "num_negatives"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("dropout", "average"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if not (0 <= self.batch_share <= 1 and 0 <= self.calibration <= 1):
            shares = self.batch_share, self.calibration
            raise ValueError(f"batch_share and calibration must be in [0, 1], got {shares}")
