import numpy as np

from avrec.distributed import ranker as spread
from avrec.distributed.learn import Run
from avrec.models import ranker
from avrec.models.ranker import RankerConfig
from avrec.store import Workspace
from avrec.workers import WorkersConfig
from tests.models.worlds import shares

CONFIG = RankerConfig(epochs=2, batch_size=101)


def test_two_workers_end_where_one_process_does(local_ray, tmp_path):
    features, labels = shares(np.random.default_rng(5), num_rows=500)
    alone = ranker.fit(features, labels, CONFIG, seed=3)
    workers = WorkersConfig(num_workers=2, num_cpus=0.5)
    run = Run(Workspace(str(tmp_path)), "ranker-pair", workers, seed=3)
    pair = spread.fit(features, labels, CONFIG, run)
    np.testing.assert_allclose(pair.score(features), alone.score(features), rtol=1e-4)
