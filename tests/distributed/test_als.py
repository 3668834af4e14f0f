import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import ray
from scipy.sparse import csr_array

from avrec.distributed import als, train
from avrec.distributed.als_checkpoints import Checkpoints
from avrec.distributed.als_shards import Shards, load, shards
from avrec.distributed.learn import Run
from avrec.errors import InputError
from avrec.interactions import weight_matrix
from avrec.models.als import ALSConfig, fit
from avrec.models.als_fit import split
from avrec.models.als_objective import SOLVERS
from avrec.models.als_parts import Solo, gather_numbers
from avrec.schema import INTERACTIONS, conform
from avrec.splits import SplitConfig
from avrec.store import Workspace
from avrec.vocab import Vocabulary
from avrec.workers import WorkersConfig

CONFIG = ALSConfig(dim=6, epochs=4)
ALL = SplitConfig(rank_share=0, test_share=0)
ITEMS = Vocabulary.of([f"i{row:02}" for row in range(31)])


def interactions(weights):
    """INTERACTIONS of a matrix, one a second, in no order."""
    user, item = weights.tocoo().coords
    order = np.random.default_rng(0).permutation(weights.nnz)
    columns = {
        "user_id": [f"u{n:02}" for n in user[order]],
        "item_id": [f"i{n:02}" for n in item[order]],
        "weight": weights.data[order].astype(np.float32),
        "at": pa.array(np.arange(weights.nnz) * 10**6, pa.timestamp("us", tz="UTC")),
    }
    return conform(pa.table(columns), INTERACTIONS)


def write(workspace, table, num_parts=5):
    """Write a table in parts, the last of them empty."""
    with workspace.create("interactions", workspace.recipe({})) as draft:
        draft.set_schema(INTERACTIONS)
        rows = -(-len(table) // (num_parts - 1))
        for part in range(num_parts):
            draft.add_table(f"part-{part:05d}.parquet", table.slice(part * rows, rows))


@pytest.fixture(scope="module")
def table() -> pa.Table:
    rng = np.random.default_rng(5)
    weights = np.where(rng.random((50, 31)) < 0.2, rng.random((50, 31)), 0)
    weights[7], weights[:, 4] = 0, 0
    return interactions(csr_array(weights))


@pytest.fixture
def workspace(tmp_path, table) -> Workspace:
    made = Workspace(str(tmp_path / "workspace"))
    write(made, table)
    return made


def run_on(num_workers, workspace, **options):
    workers = WorkersConfig(num_workers=num_workers, num_cpus=0.5, **options)
    return Run(workspace, "als-1", workers, seed=7)


def in_one_process(table, config):
    weights = weight_matrix(table, ITEMS).weights
    return fit(weights, config, rng=np.random.default_rng(7))


@pytest.mark.parametrize(
    ("num_workers", "solver", "max_gathered_mb"),
    [(1, "cg", 4096), (2, "cholesky", 0), (3, "cg", 4096), (3, "subspace", 0)],
)
def test_number_of_workers_does_not_show(
    local_ray, table, workspace, num_workers, solver, max_gathered_mb
):
    config = replace(CONFIG, solver=solver, max_gathered_mb=max_gathered_mb)
    found = als.fit_on_workers(
        shards(workspace, ITEMS, ALL), config, run_on(num_workers, workspace)
    )
    np.testing.assert_array_equal(found.items, in_one_process(table, config))
    assert not found.items[4].any(), "nobody took to it"
    assert found.audience.num_known == 49


@pytest.mark.parametrize(("solver", "max_gathered_mb"), [("cg", 4096), ("cholesky", 0)])
def test_torch_kernels_on_workers(local_ray, table, workspace, solver, max_gathered_mb):
    config = replace(CONFIG, solver=solver, max_gathered_mb=max_gathered_mb)
    found = als.fit_on_workers(
        shards(workspace, ITEMS, ALL), replace(config, device="torch:cpu"), run_on(2, workspace)
    )
    expected = in_one_process(table, config)
    np.testing.assert_allclose(found.items, expected, rtol=1e-4, atol=1e-4 * expected.max())
    assert found.audience.num_known == 49


def test_gpus_need_a_solver_for_them(workspace):
    config, run = replace(CONFIG, solver="subspace"), run_on(1, workspace, use_gpu=True)
    with pytest.raises(ValueError, match="on the device 'cuda', got 'subspace'"):
        als.fit_on_workers(shards(workspace, ITEMS, ALL), config, run)


def test_a_fit_on_gpus_needs_workers_with_gpus(workspace):
    config, run = replace(CONFIG, device="cuda"), run_on(1, workspace)
    with pytest.raises(ValueError, match=r"use_gpu must be true for als.device = 'cuda'"):
        als.fit_on_workers(shards(workspace, ITEMS, ALL), config, run)


def test_more_workers_than_rows(local_ray, tmp_path):
    workspace, items = Workspace(str(tmp_path)), Vocabulary.of(["i00", "i01"])
    few = interactions(csr_array(np.array([[1, 0], [0, 2]])))
    write(workspace, few)
    found = als.fit_on_workers(shards(workspace, items, ALL), CONFIG, run_on(3, workspace))
    expected = fit(weight_matrix(few, items).weights, CONFIG, rng=np.random.default_rng(7))
    np.testing.assert_array_equal(found.items, expected)


def test_nothing_to_train_on_gives_zero_rows(local_ray, tmp_path):
    workspace = Workspace(str(tmp_path))
    write(workspace, INTERACTIONS.empty_table())
    found = als.fit_on_workers(shards(workspace, ITEMS, ALL), CONFIG, run_on(2, workspace))
    assert found.items.shape == (31, 6)
    assert not found.items.any()


def test_starts_with_as_many_workers_as_there_is_room_for(local_ray, table, workspace):
    run = Run(workspace, "als-1", WorkersConfig(num_workers=40, min_workers=1), seed=7)
    found = als.fit_on_workers(shards(workspace, ITEMS, ALL), CONFIG, run)
    np.testing.assert_array_equal(found.items, in_one_process(table, CONFIG))


def dies_once(settings):
    """Run the loop, but kill the second worker in its third epoch if it began at the first."""
    marker, save = Path(settings["marker"]), Checkpoints.save

    def save_and_die(self, epoch):
        save(self, epoch)
        self.flush()
        gather_numbers(0, self.group)  # everyone has written
        if self.group.rank == 1:
            with marker.open("a") as note:
                note.write(f"{epoch.number} ")
            if marker.read_text() == "1 2 ":
                os._exit(1)

    Checkpoints.save = save_and_die
    als.loop(settings)


def test_killed_worker_costs_nothing_but_time(local_ray, table, workspace, tmp_path, monkeypatch):
    ray.cloudpickle.register_pickle_by_value(__import__(__name__, fromlist=["dies_once"]))
    marker, train_all = tmp_path / "epochs.txt", als.train

    def train_dying(loop, settings, **options):
        return train_all(dies_once, {**settings, "marker": str(marker)}, **options)

    monkeypatch.setattr(als, "train", train_dying)
    found = als.fit_on_workers(shards(workspace, ITEMS, ALL), CONFIG, run_on(2, workspace))
    np.testing.assert_array_equal(found.items, in_one_process(table, CONFIG))

    epochs = [int(number) for number in marker.read_text().split()]
    assert epochs == [1, 2, 3], "the second start went on in the third epoch"

    runs = Path(workspace.root.path, train.RUNS)
    assert [path.name for path in runs.iterdir()] == ["als-1"]
    train.forget(workspace, "als")
    train.forget(workspace, "als")
    assert list(runs.iterdir()) == []


@pytest.mark.parametrize("solver", SOLVERS)
def test_shards_hold_what_the_matrix_holds(table, workspace, solver):
    found = shards(workspace, ITEMS, ALL)
    config = replace(CONFIG, solver=solver, alpha=3)
    parts = load(found, config, Solo())
    expected = split(weight_matrix(table, ITEMS).weights, config)
    for part, other in zip(parts, expected, strict=True):
        np.testing.assert_array_equal(part.pull.toarray(), other.pull.toarray())
        np.testing.assert_array_equal(part.blocks, other.blocks)


def test_only_known_items_before_the_cut_train(table, workspace):
    few = Vocabulary.of([f"i{row:02}" for row in range(10, 20)])
    found = shards(workspace, few, SplitConfig(rank_share=0.1, test_share=0.2))
    part = load(found, CONFIG, Solo()).users
    kept = table.slice(0, int(np.floor(0.7 * len(table))))
    expected = weight_matrix(kept, few)
    np.testing.assert_array_equal(part.pull.toarray(), expected.weights.toarray())


@pytest.mark.parametrize("wrong", [-1, np.nan, np.inf])
def test_names_the_interaction_whose_weight_is_wrong(table, tmp_path, wrong):
    workspace = Workspace(str(tmp_path))
    weight = table["weight"].to_numpy().copy()
    weight[200] = wrong
    write(workspace, table.set_column(2, INTERACTIONS.field("weight"), [weight]))
    row = table.slice(200, 1).to_pylist()[0]
    with pytest.raises(InputError, match=f"user '{row['user_id']}' and item '{row['item_id']}' is"):
        shards(workspace, ITEMS, ALL)


def test_shards_are_plain_values(workspace):
    found = shards(workspace, ITEMS, ALL)
    assert isinstance(found, Shards)
    again = ray.cloudpickle.loads(ray.cloudpickle.dumps(found))
    assert again.paths == found.paths
    assert again.items.ids.equals(found.items.ids)
