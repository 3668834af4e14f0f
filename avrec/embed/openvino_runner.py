"""Towers run by OpenVINO on a CPU, converted in memory.

In int8, weights are rounded per output channel, and OpenVINO rounds activations as they come, per
token and group of channels, so that a vector does not depend on the others of its batch. Patches
of a picture are products too, and what only one token is asked of is computed for it alone.

A batch is cut into parts that go through the model side by side: threads of their own wait less
for each other than threads that share every product.
"""

import warnings

import numpy as np
import openvino
import torch
from openvino import opset13

from avrec.arrays import Array
from avrec.embed.openvino_graph import constant, only_what_is_taken, patches_as_products
from avrec.embed.runners import Runner, Tensors, Tower
from avrec.errors import InputError

LEVELS = 127
MAX_STREAMS = 4
"""Parts of a batch that go side by side, at most; more would share too little of the weights."""
GROUPS = (256, 128)
"""Channels whose activations share a scale: the first that divides the channels of each product."""
PRECISIONS = {"float32": "f32", "bf16": "bf16", "int8": "f32"}
"""What is not in int8 is computed in."""


def openvino_runner(tower: Tower, examples: tuple[Tensors, Tensors], precision: str) -> Runner:
    """Compile a tower for as many threads as torch has.

    Raises:
        InputError: the CPU lacks bf16, the tower holds nothing that int8 would speed up, or it
            cannot be converted.
    """
    core = openvino.Core()
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise InputError("this CPU has no bf16; set precision = 'float32' or 'int8'")
    model = _converted(tower, examples)
    only_what_is_taken(model)
    settings = {"INFERENCE_PRECISION_HINT": PRECISIONS[precision]}
    if precision == "int8":
        patches_as_products(model)
        channels = _round_weights(model)
        if not channels:
            raise InputError("the model has no matrix products for int8; set precision = 'float32'")
        settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = str(_group(channels))
    threads = torch.get_num_threads()
    streams = min(threads, MAX_STREAMS)
    settings |= {"INFERENCE_NUM_THREADS": str(threads), "NUM_STREAMS": str(streams)}
    return _side_by_side(core.compile_model(model, "CPU", settings), streams)


def _side_by_side(compiled: openvino.CompiledModel, streams: int) -> Runner:
    """Cut each batch into as many parts as there are streams, and put their rows together."""

    def run(*inputs: torch.Tensor) -> Array:
        count = min(streams, len(inputs[0])) or 1
        cut = zip(*(np.array_split(one.numpy(), count) for one in inputs), strict=True)
        requests = [_begun(compiled, list(part)) for part in cut]
        return np.concatenate([_ended(request) for request in requests])

    return run


def _begun(compiled: openvino.CompiledModel, inputs: list[Array]) -> openvino.InferRequest:
    request = compiled.create_infer_request()
    request.start_async(inputs)
    return request


def _ended(request: openvino.InferRequest) -> Array:
    request.wait()
    return request.get_output_tensor(0).data


def _converted(tower: Tower, examples: tuple[Tensors, Tensors]) -> openvino.Model:
    shapes = [
        openvino.PartialShape([a if a == b else -1 for a, b in zip(x.shape, y.shape, strict=True)])
        for x, y in zip(*examples, strict=True)
    ]
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of tracing, whose result the caller checks
        try:
            return openvino.convert_model(tower, example_input=examples[0], input=shapes)
        except (RuntimeError, TypeError, ValueError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise InputError(
                f"openvino cannot convert the model ({reason}); set backend = 'torch'"
            ) from error


def _group(channels: set[int]) -> int:
    fitting = [group for group in GROUPS if not any(count % group for count in channels)]
    return fitting[0] if fitting else GROUPS[-1]


def _round_weights(model: openvino.Model) -> set[int]:
    """Put int8 weights and their scales into the products with a constant matrix.

    Returns:
        The numbers of channels that these take in.
    """
    channels = set()
    for node in model.get_ordered_ops():
        weights = _matrix(node) if node.get_type_name() == "MatMul" else None
        if weights is not None:
            axis = 1 if node.get_attributes()["transpose_b"] else 0
            node.input(1).replace_source_output(_rounded(weights, axis).output(0))
            channels.add(weights.shape[axis])
    return channels


def _matrix(product: openvino.Node) -> Array | None:
    """Right side of a product, where it is a constant matrix."""
    numbers = constant(product.input_value(1))
    if numbers is None or numbers.ndim != 2:  # noqa: PLR2004
        return None
    return numbers.astype(np.float32)


def _rounded(weights: Array, axis: int) -> openvino.Node:
    scales = np.maximum(np.abs(weights).max(axis=axis, keepdims=True) / LEVELS, 1e-12)
    levels = np.round(weights / scales).astype(np.int8)
    stored = opset13.convert(opset13.constant(levels), "f32")
    return opset13.multiply(stored, opset13.constant(scales.astype(np.float32)))
