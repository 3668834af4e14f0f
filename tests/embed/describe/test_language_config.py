import pytest

from avrec.embed.describe.language_config import CaptionsConfig, LanguageConfig, OpinionsConfig


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LanguageConfig(topics=("music",)), "topics must be two different words or more"),
        (lambda: LanguageConfig(moods=("sad", "sad")), "moods must be two different words"),
        (lambda: LanguageConfig(flags=("safe", "hate")), "flags must not name 'safe'"),
        (lambda: LanguageConfig(gguf_file="a.gguf"), r"gguf_file 'a\.gguf' needs a model"),
        (lambda: LanguageConfig(precision="int3"), "precision must be one of"),
        (lambda: OpinionsConfig(max_tokens=0), "max_tokens must be at least 1, got 0"),
        (lambda: CaptionsConfig(frames=0), "frames must be at least 1, got 0"),
    ],
)
def test_a_wrong_value_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
