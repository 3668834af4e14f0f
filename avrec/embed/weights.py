"""Fingerprints of models, so that what was made by other weights is made again."""

import hashlib
from pathlib import Path

from avrec.errors import InputError

EDGE_BYTES = 1 << 20
FORMS = ("*.safetensors", "*.gguf", "*.onnx", "*.json")


def digest(model: str) -> str:
    """Fingerprint of a file, or a folder's weights and configuration; of a hub id, the id itself.

    Large files count by their size, their beginning and their end.

    Raises:
        InputError: a path of nothing.
    """
    folder = Path(model)
    if not folder.is_dir() and not folder.is_file():
        if model.startswith(("/", ".", "~")):
            raise InputError(f"no model folder {model!r}; check embed.encoders and describe")
        return model
    total = hashlib.sha256()
    found = [path for form in FORMS for path in folder.glob(form)]
    for path in sorted(found) if folder.is_dir() else [folder]:
        size = path.stat().st_size
        total.update(f"{path.name} {size}".encode())
        with path.open("rb") as stream:
            total.update(stream.read(EDGE_BYTES))
            stream.seek(max(0, size - EDGE_BYTES))
            total.update(stream.read(EDGE_BYTES))
    return total.hexdigest()[:12]
