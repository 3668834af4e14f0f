"""Exact changes to an OpenVINO model that leave it less to compute, or more as matrix products."""

import numpy as np
import openvino
from openvino import opset13

from avrec.arrays import Array

POINTWISE = {"Add", "Subtract", "Multiply", "Swish", "Sigmoid", "Gelu", "Relu", "Tanh", "Convert"}
BATCH, TOKENS, CHANNELS = range(3)


def constant(output: openvino.Output) -> Array | None:
    """The numbers of a constant, as they are stored; None of what varies."""
    node = output.get_node()
    if node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    return node.data if node.get_type_name() == "Constant" else None


def patches_as_products(model: openvino.Model) -> None:
    """Make each convolution whose windows lie side by side a product, which int8 speeds up."""
    for node in model.get_ordered_ops():
        weights = _patch_weights(node)
        if weights is not None:
            _product_of_patches(node, weights)
    model.validate_nodes_and_infer_types()


def only_what_is_taken(model: openvino.Model) -> None:
    """Where one token is taken at the end, compute what only it needs of that token alone.

    A tower that gives the vector of its first token needs of its last block the keys and values
    of all, but the rest of the first.
    """
    for node in model.get_ordered_ops():
        token = _token_taken(node)
        if token is not None:
            _narrow(model, node, token)
    model.validate_nodes_and_infer_types()


def _patch_weights(node: openvino.Node) -> Array | None:
    weights = constant(node.input_value(1)) if node.get_type_name() == "Convolution" else None
    if weights is None or weights.ndim != 4:  # noqa: PLR2004
        return None
    settings, sides = node.get_attributes(), node.input_value(0).get_partial_shape()
    window = list(weights.shape[2:])
    plain = min(window) > 1 and settings["strides"] == window and set(settings["dilations"]) == {1}
    plain &= not any([*settings["pads_begin"], *settings["pads_end"]])
    plain &= settings["auto_pad"] in ("explicit", "valid")
    fits = all(
        length.is_static and length.get_length() % side == 0
        for length, side in zip(list(sides)[2:], window, strict=True)
    )
    return weights if plain and fits else None


def _product_of_patches(node: openvino.Node, weights: Array) -> None:
    out, channels, height, width = weights.shape
    shape = node.input_value(0).get_partial_shape()
    rows, columns = shape[2].get_length() // height, shape[3].get_length() // width
    cut = _reshaped(node.input_value(0), [0, channels, rows, height, columns, width])
    beside = opset13.transpose(cut, opset13.constant([0, 2, 4, 1, 3, 5]))
    flat = _reshaped(beside.output(0), [0, rows * columns, channels * height * width])
    matrix = opset13.constant(weights.reshape(out, -1).astype(np.float32))
    product = opset13.matmul(flat, matrix, transpose_a=False, transpose_b=True)
    turned = opset13.transpose(product, opset13.constant([0, 2, 1]))
    _replace(node, _reshaped(turned.output(0), [0, out, rows, columns]))


def _reshaped(output: openvino.Output, shape: list[int]) -> openvino.Node:
    """Reshape; a length of 0 stays what it is."""
    return opset13.reshape(output, opset13.constant(np.array(shape)), special_zero=True)


def _replace(node: openvino.Node, other: openvino.Node) -> None:
    for reader in node.output(0).get_target_inputs():
        reader.replace_source_output(other.output(0))


def _token_taken(node: openvino.Node) -> int | None:
    if node.get_type_name() != "Gather" or _rank(node.input_value(0)) != CHANNELS + 1:
        return None
    index, axis = (constant(one) for one in node.input_values()[1:])
    if index is None or axis is None or index.size != 1 or axis.item() != TOKENS:
        return None
    return int(index.item()) if index.item() >= 0 else None


def _narrow(model: openvino.Model, gather: openvino.Node, token: int) -> None:
    region = {_key(gather)}
    edges = [gather.input(0)]
    for node in reversed(model.get_ordered_ops()):
        readers = [one.get_node() for one in node.output(0).get_target_inputs()]
        if readers and _each_token_alone(node) and all(_key(one) in region for one in readers):
            region.add(_key(node))
            edges += [one for one in node.inputs() if constant(one.get_source_output()) is None]
    bounds = [opset13.constant([bound]) for bound in (token, token + 1)]
    step, axis = opset13.constant([1]), opset13.constant([TOKENS])
    for edge in edges:
        source = edge.get_source_output()
        if _key(source.get_node()) not in region:
            edge.replace_source_output(opset13.slice(source, *bounds, step, axis).output(0))
    gather.input(1).replace_source_output(opset13.constant(0).output(0))


def _key(node: openvino.Node) -> str:
    return node.get_name()


def _rank(output: openvino.Output) -> int:
    shape = output.get_partial_shape()
    return len(shape) if shape.rank.is_static else -1


def _each_token_alone(node: openvino.Node) -> bool:
    """Whether a token of what a node gives depends on that of its inputs alone."""
    kind = node.get_type_name()
    if node.get_output_size() != 1 or _rank(node.output(0)) != CHANNELS + 1:
        return False
    if kind == "MatMul":
        matrix = constant(node.input_value(1))
        return matrix is not None and matrix.ndim == 2  # noqa: PLR2004
    if kind == "MVN":
        axes = constant(node.input_value(1))
        return axes is not None and axes.ravel().tolist() in ([-1], [CHANNELS])
    return kind in POINTWISE and all(_fits(one) for one in node.input_values())


def _fits(output: openvino.Output) -> bool:
    """Whether an input goes on by token: it has all, or is a constant that is the same for all."""
    numbers = constant(output)
    if numbers is None:
        return _rank(output) == CHANNELS + 1
    return numbers.ndim < CHANNELS or numbers.shape[TOKENS] == 1
