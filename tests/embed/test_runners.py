"""Fast ways to run a model, on tiny models with random weights."""

import sys

import numpy as np
import pytest
import torch

from avrec.embed import runners
from avrec.embed.encoder import EncoderConfig, load_encoder
from avrec.embed.runners import Speed, Tower, lowest_cosine, runner
from avrec.errors import InputError
from tests.embed import models
from tests.embed.test_encoders import inputs_of

pytestmark = pytest.mark.slow
FAST = [
    ("torch", "bf16"),
    ("openvino", "float32"),
    ("openvino", "int8"),
    ("onnxruntime", "float32"),
    ("onnxruntime", "int8"),
]
BUILDS = [models.clip, models.whisper, models.bert, models.clip_text]


def needs(backend):
    for module in {"onnxruntime": ("onnxruntime", "onnxscript")}.get(backend, (backend,)):
        pytest.importorskip(module)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}

    def folder(build):
        if build not in made:
            made[build] = str(models.make(build, tmp_path_factory.mktemp("models") / "tiny"))
        return made[build]

    return folder


@pytest.mark.parametrize(("backend", "precision"), FAST)
@pytest.mark.parametrize("build", BUILDS)
def test_a_fast_way_gives_nearly_the_same_vectors_under_a_name_of_its_own(
    folders, build, backend, precision
):
    needs(backend)
    common = {"kind": models.KIND_OF[build], "model": folders(build)}
    plain = load_encoder(EncoderConfig(**common))
    fast = load_encoder(EncoderConfig(**common, backend=backend, precision=precision))
    inputs = inputs_of(plain.modality)
    assert lowest_cosine(fast.encode(inputs), plain.encode(inputs)) >= 0.998
    assert fast.revision == f"{plain.revision}+{backend}-{precision}"


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("build", [models.clip, models.bert])
def test_int8_vectors_do_not_depend_on_their_neighbours(folders, build, backend):
    needs(backend)
    config = {"kind": models.KIND_OF[build], "model": folders(build), "backend": backend}
    encoder = load_encoder(EncoderConfig(**config, precision="int8"))
    inputs = inputs_of(encoder.modality)
    alone = np.concatenate([encoder.encode([one]) for one in inputs])
    np.testing.assert_allclose(encoder.encode(inputs), alone, atol=5e-3)


def test_a_way_that_strays_from_float32_is_refused_with_its_cosine():
    torch.manual_seed(0)
    cancels = Tower(torch.nn.Linear(8, 8), lambda model, x: model(x + 3000) - model(x + 3001))
    examples = ((torch.randn(2, 8),), (torch.randn(3, 8),))
    with pytest.raises(
        InputError, match=r"torch in bf16 gives vectors of cosine -?0\.\d+ to float"
    ):
        runner(cancels, examples, Speed(precision="bf16"), "cpu")


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_model_without_products_has_no_int8(folders, backend):
    needs(backend)
    config = {"kind": "spectrogram_classifier", "model": folders(models.spectrogram_classifier)}
    with pytest.raises(InputError, match="no matrix products for int8"):
        load_encoder(EncoderConfig(**config, backend=backend, precision="int8"))


@pytest.mark.parametrize(("backend", "extra"), [("openvino", "openvino"), ("onnxruntime", "onnx")])
def test_an_absent_backend_names_its_extra(monkeypatch, folders, backend, extra):
    monkeypatch.setitem(sys.modules, backend, None)
    for name in ("openvino_runner", "onnx_runner"):
        monkeypatch.delitem(sys.modules, f"avrec.embed.{name}", raising=False)
    config = EncoderConfig(kind="image_model", model=folders(models.clip), backend=backend)
    with pytest.raises(InputError, match=rf"pip install 'avrec\[{extra}\]'"):
        load_encoder(config)


def test_torch_in_float32_is_run_as_it_is():
    tower = Tower(torch.nn.Identity(), lambda model, x: model(x))
    examples = ((torch.ones(2, 3),), (torch.ones(3, 3),))
    run = runners.runner(tower, examples, Speed(), "cpu")
    np.testing.assert_array_equal(run(torch.full((1, 3), 0.1)), np.full((1, 3), 0.1, np.float32))


@pytest.mark.gpu
def test_a_compiled_model_on_a_gpu_gives_nearly_the_same_vectors(folders):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    common = {"kind": "image_model", "model": folders(models.clip)}
    plain = load_encoder(EncoderConfig(**common))
    fast = load_encoder(EncoderConfig(**common, device="cuda", precision="bf16", compile=True))
    inputs = inputs_of("frames")
    assert lowest_cosine(fast.encode(inputs), plain.encode(inputs)) >= 0.998
