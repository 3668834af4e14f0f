import numpy as np
import pytest

from avrec.distributed import ranker as spread
from avrec.distributed.learn import Run
from avrec.errors import InputError
from avrec.models import ranker
from avrec.models.features import DENSE, FIELDS, Features
from avrec.models.impressions import Impressions
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


def test_too_few_impressions_are_said(tmp_path):
    nothing = Features(np.zeros((0, len(DENSE)), np.float32), np.zeros((0, len(FIELDS)), np.int32))
    none = np.zeros(0, np.int32)
    shown = Impressions(nothing, none.astype(np.float32), none, none.astype(np.int64), {})
    run = Run(Workspace(str(tmp_path)), "ranker-none", WorkersConfig())
    with pytest.raises(InputError, match=r"0 impressions .* too few"):
        spread.fit_and_judge(shown, CONFIG, run)
