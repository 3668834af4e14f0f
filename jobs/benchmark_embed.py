"""Measure content understanding, part by part, against its peers.

    python -m jobs.benchmark_embed [--only decode ...] [--peers FOLDER] [--media FOLDER]
        [--shared FOLDER]

Each figure is one line of JSON. Sides take turns. A peer that is not installed is left out, and
said so. `--peers` is a folder of packages that are only peers, such as
`pip install --no-deps --target FOLDER decord`; `--media` a folder of clips beside generated
ones, `--shared` one with `media` and `models`.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs import (
    benchmark_embed_decode,
    benchmark_embed_describe,
    benchmark_embed_duplicates,
    benchmark_embed_encoder,
    benchmark_embed_flow,
    benchmark_embed_language,
    benchmark_embed_pipeline,
    benchmark_embed_weights,
)

Part = Callable[[argparse.Namespace], list[dict[str, Any]]]

PARTS: dict[str, Part] = {
    "decode": benchmark_embed_decode.run,
    "encoder": benchmark_embed_encoder.run,
    "flow": benchmark_embed_flow.run,
    "pipeline": benchmark_embed_pipeline.run,
    "language": benchmark_embed_language.run,
    "describe": benchmark_embed_describe.run,
    "duplicates": benchmark_embed_duplicates.run,
    "weights": benchmark_embed_weights.run,
}


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=sorted(PARTS), default=sorted(PARTS))
    parser.add_argument("--peers", type=Path, help="folder of packages that are only peers")
    parser.add_argument("--media", type=Path, help="folder of clips beside the generated ones")
    parser.add_argument("--shared", type=Path, help="folder of labelled media and of models")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    for name in arguments.only:
        for figure in PARTS[name](arguments):
            print(json.dumps(figure), flush=True)


if __name__ == "__main__":
    main()
