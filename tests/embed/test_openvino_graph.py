"""Rewritten graphs give what they gave."""

import numpy as np
import pytest

openvino = pytest.importorskip("openvino")
from openvino import opset13 as ops  # noqa: E402

from avrec.embed.openvino_graph import only_what_is_taken, patches_as_products  # noqa: E402

TOKENS, DIM = 5, 4


def run(model, inputs):
    plain = {"INFERENCE_PRECISION_HINT": "f32"}
    return openvino.Core().compile_model(model, "CPU", plain)([inputs])[0]


def kinds(model):
    return [node.get_type_name() for node in model.get_ordered_ops()]


def products(model):
    return [
        list(node.get_output_partial_shape(0))[1].get_length()
        for node in model.get_ordered_ops()
        if node.get_type_name() == "MatMul"
    ]


@pytest.mark.parametrize(
    ("side", "stride", "is_patch"), [(4, 4, True), (3, 3, True), (3, 4, False), (1, 1, False)]
)
def test_patches_side_by_side_become_a_product(rng, side, stride, is_patch):
    pixels = ops.parameter([-1, 3, 12, 12], np.float32)
    weights = ops.constant(rng.normal(size=(7, 3, side, side)).astype("f4"))
    strides, none = [stride, stride], [0, 0]
    patches = ops.convolution(pixels, weights, strides, none, none, [1, 1])
    model = openvino.Model([patches], [pixels])
    pictures = rng.normal(size=(2, 3, 12, 12)).astype("f4")
    expected = run(model, pictures)
    patches_as_products(model)
    assert ("Convolution" in kinds(model)) != is_patch
    np.testing.assert_allclose(run(model, pictures), expected, atol=1e-5)


def two_layers(rng, taken, mixed_after):
    """Tokens are mixed by a softmax between two products of each alone, and perhaps at the end."""
    tokens = ops.parameter([-1, TOKENS, DIM], np.float32)
    first, second = (ops.constant(rng.normal(size=(DIM, DIM)).astype("f4")) for _ in range(2))
    mixed = ops.softmax(ops.matmul(tokens, first, False, True), 1)
    place = ops.constant(rng.normal(size=(1, TOKENS, DIM)).astype("f4"))
    bias = ops.constant(rng.normal(size=(1, 1, DIM)).astype("f4"))
    last = ops.add(ops.matmul(ops.add(mixed, place), second, False, True), bias)
    last = ops.add(last, tokens)
    last = ops.softmax(last, 1) if mixed_after else last
    one = ops.gather(last, ops.constant(taken), ops.constant(1))
    return openvino.Model([one], [tokens])


@pytest.mark.parametrize("taken", [0, 3])
def test_what_one_token_is_asked_of_is_computed_for_it_alone(rng, taken):
    model = two_layers(rng, taken, mixed_after=False)
    inputs = rng.normal(size=(2, TOKENS, DIM)).astype("f4")
    expected = run(model, inputs)
    only_what_is_taken(model)
    assert products(model) == [TOKENS, 1]
    np.testing.assert_allclose(run(model, inputs), expected, atol=1e-5)


def test_tokens_that_others_need_are_all_computed(rng):
    model = two_layers(rng, 0, mixed_after=True)
    inputs = rng.normal(size=(2, TOKENS, DIM)).astype("f4")
    expected = run(model, inputs)
    only_what_is_taken(model)
    assert products(model) == [TOKENS, TOKENS]
    np.testing.assert_allclose(run(model, inputs), expected, atol=1e-5)


def test_tokens_that_are_given_out_too_are_all_computed(rng):
    tokens = ops.parameter([-1, TOKENS, DIM], np.float32)
    weights = ops.constant(rng.normal(size=(DIM, DIM)).astype("f4"))
    every = ops.matmul(tokens, weights, False, True)
    one = ops.gather(every, ops.constant(0), ops.constant(1))
    model = openvino.Model([one, every], [tokens])
    only_what_is_taken(model)
    assert products(model) == [TOKENS]
