from dataclasses import replace

import pytest

from avrec.embed.describe.config import (
    FramesConfig,
    SafetyConfig,
    SoundsConfig,
    SpeechConfig,
    settings_digest,
)
from avrec.embed.describe.describer import found, rows
from avrec.schema import TRANSCRIPTS


@pytest.mark.parametrize(
    ("make", "fields", "words"),
    [
        (SpeechConfig, {"voice_threshold": 1.5}, "voice_threshold must be in"),
        (SpeechConfig, {"temperatures": ()}, "temperatures must be some"),
        (SpeechConfig, {"pad_seconds": -0.1}, "pad_seconds must be at least 0"),
        (SoundsConfig, {"top": 0}, "top must be at least 1"),
        (FramesConfig, {"mood_template": "calm"}, "mood_template must hold {}"),
        (SafetyConfig, {"thresholds": {"Porn": 0.5}}, "small letters"),
        (SafetyConfig, {"thresholds": {"porn": 0.0}}, "small letters"),
    ],
)
def test_settings_are_checked(make, fields, words):
    with pytest.raises(ValueError, match=words):
        make(**fields)


def test_what_changes_the_rows_changes_the_digest_and_where_it_runs_does_not():
    config = SpeechConfig()
    digest = settings_digest(config)
    assert settings_digest(replace(config, device="cuda", batch_size=1)) == digest
    assert settings_digest(replace(config, pad_seconds=0.3)) != digest


def test_flags_can_be_moved_without_looking_again():
    lower = SafetyConfig(thresholds={"porn": 0.1})
    assert settings_digest(lower, "thresholds") == settings_digest(SafetyConfig(), "thresholds")


def test_rows_leave_the_item_and_the_producer_to_the_caller():
    row = {"start_seconds": 0.0, "stop_seconds": 1.5, "text": "hello"}
    table = rows(TRANSCRIPTS, [row])
    assert table.schema == found(TRANSCRIPTS)
    assert table.to_pylist() == [row | {"language": None}]
    assert rows(TRANSCRIPTS, []).num_rows == 0
