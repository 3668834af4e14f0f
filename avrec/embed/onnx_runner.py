"""Towers run by onnxruntime on a CPU, exported in memory.

In int8, weights are rounded in blocks of an output channel, and activations as they come, per token
and block, so that a vector does not depend on the others of its batch.
"""

import logging
import warnings
from typing import Any

import onnxruntime
import onnxscript  # noqa: F401 -- torch's exporter needs it, and says so only when it runs
import torch
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

from avrec.embed.runners import Runner, Tensors, Tower
from avrec.errors import InputError

BLOCK = 128
"""Weights, and activations, that share a scale."""
INT8_ACTIVATIONS = 4


def onnx_runner(tower: Tower, examples: tuple[Tensors, Tensors], precision: str) -> Runner:
    """Load a tower for as many threads as torch has.

    Raises:
        InputError: the tower cannot be exported, or holds nothing that int8 would speed up.
    """
    model = _exported(tower, examples)
    if precision == "int8":
        model = _rounded(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [one.name for one in session.get_inputs()]

    def run(*inputs: torch.Tensor) -> Any:
        feeds = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
        return session.run(None, feeds)[0]

    return run


def _exported(tower: Tower, examples: tuple[Tensors, Tensors]) -> Any:
    varying = tuple(
        {
            axis: torch.export.Dim.DYNAMIC
            for axis, (a, b) in enumerate(zip(x.shape, y.shape, strict=True))
            if a != b
        }
        for x, y in zip(*examples, strict=True)
    )
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses torchvision, not needed
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter, whose result the caller checks
        try:
            program = torch.onnx.export(
                tower, examples[0], dynamo=True, dynamic_shapes=(varying,), verbose=False
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise InputError("the model cannot be exported; set backend = 'torch'") from error
    assert program is not None
    return program.model_proto


def _rounded(model: Any) -> Any:
    logging.getLogger("onnxruntime.quantization.matmul_nbits_quantizer").setLevel(logging.ERROR)
    quantizer = MatMulNBitsQuantizer(
        model, bits=8, block_size=BLOCK, is_symmetric=True, accuracy_level=INT8_ACTIVATIONS
    )
    quantizer.process()
    rounded = quantizer.model.model
    if not any(node.op_type == "MatMulNBits" for node in rounded.graph.node):
        raise InputError("the model has no matrix products for int8; set precision = 'float32'")
    return rounded
