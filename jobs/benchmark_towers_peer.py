"""The peer's side of `benchmark_towers_speed`: SASRec of rectools, a batch at a time.

Runs in the peer's own environment: `python benchmark_towers_peer.py FOLDER EPOCHS THREADS`. For
each line that it reads, it trains one batch and prints the seconds it took; after a line "go" it
trains on to the end without waiting. Then it prints the lists of the first ten for all users.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

SETTINGS = {
    "n_blocks": 2,
    "n_heads": 2,
    "n_factors": 64,
    "session_max_len": 200,
    "dropout_rate": 0.2,
    "loss": "softmax",
    "batch_size": 128,
    "lr": 0.001,
}


def main(folder: Path, epochs: int, threads: int) -> None:
    """Train as told by standard input."""
    import pandas as pd  # noqa: PLC0415
    import torch  # noqa: PLC0415
    from pytorch_lightning import Trainer  # noqa: PLC0415
    from pytorch_lightning.callbacks import Callback  # noqa: PLC0415
    from rectools.dataset import Dataset  # noqa: PLC0415
    from rectools.models import SASRecModel  # noqa: PLC0415

    torch.set_num_threads(threads)

    class Paced(Callback):  # type: ignore[misc]
        waits, begin = True, 0.0

        def on_train_batch_start(self, *_: Any) -> None:
            if self.waits:
                self.waits = sys.stdin.readline().strip() != "go"
            self.begin = time.perf_counter()

        def on_train_batch_end(self, *_: Any) -> None:
            if self.waits:
                print(json.dumps(time.perf_counter() - self.begin), flush=True)

    def trainer() -> Any:
        return Trainer(
            max_epochs=epochs,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            accelerator="cpu",
            callbacks=[Paced()],
        )

    user, item = np.load(folder / "user.npy"), np.load(folder / "item.npy")
    at = pd.Timestamp(0) + pd.to_timedelta(np.arange(len(user)), unit="s")
    frame = pd.DataFrame({"user_id": user, "item_id": item, "weight": 1, "datetime": at})
    model = SASRecModel(**SETTINGS, epochs=epochs, get_trainer_func=trainer)
    model.fit(dataset := Dataset.construct(frame))
    users = np.unique(user)
    told = model.recommend(users=users, dataset=dataset, k=10, filter_viewed=True)
    rows = told.groupby("user_id")["item_id"].apply(list)
    print(json.dumps([rows[one] for one in users.tolist()]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
