"""Images per second of a ViT-B/32 image tower, each backend and precision against transformers.

The model is `CLIPVisionModelWithProjection` in its default configuration, with random weights.
On the CPU: batches of 16 on 2 threads, goal 4 times eager float32 where the CPU multiplies bytes
(AMX or VNNI), else 1.7. On a GPU, where there is one: bf16, compiled, batches of 1024 that are on
the device, goal 30,000 images a second. `value` compares the best of the repeats, `median` their
medians; `met` asks the median, and a cosine of .999 to float32.
"""

import argparse
import copy
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
import transformers

from avrec.embed.runners import MIN_COSINE, Runner, Speed, Tower, lowest_cosine, runner
from avrec.errors import InputError

THREADS, BATCH, SIDE = 2, 16, 224
GPU_BATCH, GPU_GOAL, GPU_WARMUPS, GPU_STEPS = 1024, 30_000, 5, 20
CHOICE = Speed(backend="openvino", precision="int8")
WAYS = (
    Speed(precision="bf16"),
    Speed(backend="onnxruntime"),
    Speed(backend="onnxruntime", precision="int8"),
    Speed(backend="openvino"),
    Speed(backend="openvino", precision="bf16"),
    CHOICE,
)
PEER = "transformers float32 eager"
MULTIPLIES_BYTES = ("vnni", "amx_int8")


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure every way on the CPU, and the fast one on a GPU."""
    tower = vit_b32()
    return [*on_cpu(tower, arguments.repeats), on_gpu(tower, arguments.repeats)]


def vit_b32() -> Tower:
    """A tower of random weights."""
    torch.manual_seed(0)
    model = transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig())
    return Tower(model.eval().requires_grad_(requires_grad=False), _embeds)


def on_cpu(tower: Tower, repeats: int) -> list[dict[str, Any]]:
    """Compare each way with eager float32."""
    torch.set_num_threads(THREADS)
    pixels = torch.randn(BATCH, 3, SIDE, SIDE)
    sides: dict[Speed, Runner] = {Speed(): _eager(tower)}
    figures = []
    for speed in WAYS:
        try:
            sides[speed] = _way(tower, speed)
        except InputError as error:
            figures.append({"figure": _name(speed), "skipped": str(error)})
    seconds = _in_turns({speed: partial(way, pixels) for speed, way in sides.items()}, repeats)
    expected = sides[Speed()](pixels)
    for speed, way in sides.items():
        cosine = lowest_cosine(way(pixels), expected)
        figures.append(_compared(speed, seconds[speed], seconds[Speed()], cosine))
    return figures


def on_gpu(tower: Tower, repeats: int) -> dict[str, Any]:
    """Rate of the compiled tower in bf16 on batches that are on the device."""
    figure = {"figure": "vit_b32_gpu", "unit": "images/s", "goal": GPU_GOAL}
    if not torch.cuda.is_available():
        return figure | {"skipped": "no CUDA device here"}
    pixels = torch.randn(GPU_BATCH, 3, SIDE, SIDE, device="cuda")
    expected = _on_device(copy.deepcopy(tower).cuda(), pixels)
    fast = torch.compile(copy.deepcopy(tower).to("cuda", torch.bfloat16), mode="max-autotune")
    cosine = lowest_cosine(_on_device(fast, pixels.bfloat16()), expected)
    rates = [_gpu_rate(fast, pixels.bfloat16()) for _ in range(repeats)]
    return figure | {
        "value": round(max(rates)),
        "median": round(median(rates)),
        "cosine": round(cosine, 5),
        "device": torch.cuda.get_device_name(),
        "met": median(rates) >= GPU_GOAL and cosine >= MIN_COSINE,
    }


def _embeds(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    return model(pixel_values=pixels).image_embeds


def _eager(tower: Tower) -> Runner:
    @torch.inference_mode()
    def run(pixels: torch.Tensor) -> Any:
        return tower(pixels).numpy()

    return run


def _way(tower: Tower, speed: Speed) -> Runner:
    examples = ((torch.randn(2, 3, SIDE, SIDE),), (torch.randn(3, 3, SIDE, SIDE),))
    return runner(copy.deepcopy(tower), examples, speed, "cpu")


def _in_turns(sides: dict[Speed, Callable[[], Any]], repeats: int) -> dict[Speed, list[float]]:
    """Seconds of each side, a run of all before the next; the first, which warms up, is left."""
    seconds: dict[Speed, list[float]] = {speed: [] for speed in sides}
    for _ in range(repeats + 1):
        for speed, side in sides.items():
            start = time.perf_counter()
            side()
            seconds[speed].append(time.perf_counter() - start)
    return {speed: spent[1:] for speed, spent in seconds.items()}


def _compared(
    speed: Speed, spent: list[float], eager: list[float], cosine: float
) -> dict[str, Any]:
    ratio = median(eager) / median(spent)
    figure: dict[str, Any] = {
        "figure": _name(speed),
        "value": round(min(eager) / min(spent), 2),
        "median": round(ratio, 2),
        "unit": "times",
        "peer": PEER,
        "images_per_second": round(BATCH / min(spent), 1),
        "cosine": round(cosine, 5),
    }
    if speed == CHOICE:
        goal = _goal()
        figure |= {"goal": goal, "met": ratio >= goal and cosine >= MIN_COSINE}
    return figure


def _name(speed: Speed) -> str:
    return f"vit_b32_{speed.backend}_{speed.precision}"


def _goal() -> float:
    flags = Path("/proc/cpuinfo")
    known = flags.read_text() if flags.exists() else ""
    return 4.0 if any(flag in known for flag in MULTIPLIES_BYTES) else 1.7


@torch.inference_mode()
def _on_device(tower: Any, pixels: torch.Tensor) -> Any:
    return tower(pixels).float().cpu().numpy()


@torch.inference_mode()
def _gpu_rate(tower: Any, pixels: torch.Tensor) -> float:
    for _ in range(GPU_WARMUPS):
        tower(pixels)
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(GPU_STEPS):
        tower(pixels)
    torch.cuda.synchronize()
    return GPU_STEPS * len(pixels) / (time.perf_counter() - start)
