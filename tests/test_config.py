import tomllib
from dataclasses import asdict
from pathlib import Path

import pytest

from avrec.config import RunConfig, build, load
from avrec.errors import ConfigError

JOBS = Path(__file__).parents[1] / "jobs"


@pytest.fixture
def toml(tmp_path):
    def write(text: str):
        (tmp_path / "run.toml").write_text(text)
        return tmp_path / "run.toml"

    return write


def test_empty_file_is_all_defaults(toml):
    assert load(toml("")) == RunConfig()


def test_reads_nested_sections_lists_and_tables(toml):
    config = load(
        toml("""
        stages = ["interactions"]
        [sample]
        num_clips = 12
        [sample.listeners]
        sessions = 3
        [events.columns]
        user_id = "userId"
        """)
    )
    assert config.stages == ("interactions",)
    assert config.sample.num_clips == 12
    assert config.sample.listeners.sessions == 3.0
    assert config.events.columns == {"user_id": "userId"}


def test_an_override_wins_and_leaves_its_neighbours(toml):
    path = toml("[split]\ntest_share = 0.2\nrank_share = 0.3")
    config = load(path, ["split.test_share=0.25", "seed=3"])
    assert (config.split.test_share, config.split.rank_share, config.seed) == (0.25, 0.3, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeds = 1", r"unknown key 'seeds'; did you mean 'seed'\? known are \["),
        ("[split]\ntest_shares = 0.1", r"unknown key split\.'test_shares'"),
        ("[sample.listeners]\nday = 1", r"unknown key sample\.listeners\.'day'"),
        ("seed = '8'", r"seed is '8', expected int"),
        ("seed = true", r"seed is True, expected int"),
        ("seed = 1.5", r"seed is 1\.5, expected int"),
        ("split = 3", r"split is 3, expected a table"),
        ("stages = 'probe'", r"stages is 'probe', expected a list"),
        ("stages = [1]", r"stages\[0\] is 1, expected str"),
        ("[events.columns]\nuser_id = 1", r"events\.columns\.user_id is 1, expected str"),
        ("[split]\ntest_share = 2", r"split\.test_share must be in \[0, 1\), got 2"),
        ("[split]\ntest_share = nan", r"split\.test_share is nan, expected a finite number"),
        ("keep_versions = -1", r"keep_versions must be at least 0, got -1"),
        ("seed = ", r"run\.toml is not TOML"),
    ],
)
def test_says_where_the_fault_is(toml, text, message):
    with pytest.raises(ConfigError, match=message):
        load(toml(text))


def test_absent_file(tmp_path):
    with pytest.raises(ConfigError, match=r"no configuration file .*absent\.toml"):
        load(tmp_path / "absent.toml")


@pytest.mark.parametrize("override", ["seed", "seed=", "workspace=/x"])
def test_override_that_is_not_toml(toml, override):
    with pytest.raises(ConfigError, match="is not a line of TOML"):
        load(toml(""), [override])


def test_workspace_placeholder_names_a_file_below_it(toml):
    path = toml('workspace = "s3://b/run?region=x"\n[events]\nuri = "{workspace}/sample/e.parquet"')
    assert load(path).events.uri == "s3://b/run/sample/e.parquet?region=x"
    moved = load(path, ['workspace="/srv/run"'])
    assert moved.events.uri == "/srv/run/sample/e.parquet"


def test_default_toml_names_every_key_with_its_default():
    text = (JOBS / "default.toml").read_text()
    assert build(RunConfig, tomllib.loads(text)) == RunConfig()
    assert keys(tomllib.loads(text)) == keys(asdict(RunConfig()))


def keys(tree, at=""):
    """Paths of all keys; free tables such as `columns` count as one."""
    found = set()
    for key, value in tree.items():
        found.add(f"{at}{key}")
        if isinstance(value, dict):
            found |= keys(value, f"{at}{key}.")
    return found


@pytest.mark.parametrize("path", sorted(JOBS.glob("*.toml")), ids=lambda path: path.name)
def test_runs_of_the_repository_are_valid(path):
    load(path)
