"""Short pieces of work whose time says how a GPU differs from what is predicted of any, and their kernels.

Shapes are those of ACT's training step (`_ROWS` rows of tokens, ResNet-18 on images of 640x480). Ops are
called as autograd calls them, so that a piece is one op, with all the kernels that it launches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch

from actprof.errors import TraceError
from actprof.hardware.gpu import Gpu
from actprof.policies.facts import Parameter, PolicyFacts
from actprof.step_time.calibration import CONV, HALF, MEMORY, STRIDES, SUMS, TF32
from actprof.step_time.step import PlayedStep, play_step
from actprof.trace.affine import fit
from actprof.trace.fake import fake_cuda
from actprof.trace.model import Trace
from actprof.trace.recorder import Recorder

if TYPE_CHECKING:
    from torch import Tensor

aten = torch.ops.aten
_ROWS, _WIDTH, _HIDDEN = 16 * 602, 512, 3200  # of ACT's encoder, two cameras of 640x480 at batch size 16
_AMPERE = (8, 0)
Work = Callable[[], object]


class New:
    """Makes tensors on the GPU; `half` is the dtype of half precision that it multiplies in."""

    def __init__(self, half: torch.dtype) -> None:
        self.half = half

    def __call__(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return random numbers, which cost a GPU more power than zeros."""
        return torch.randn(*shape, device="cuda", dtype=dtype)


@dataclass(frozen=True, slots=True)
class Probe:
    """A piece of work: its name, the group of kernels that it is about, and what prepares it."""

    name: str
    group: str
    make: Callable[[New], Work]


def half_of(compute_capability: tuple[int, int]) -> torch.dtype:
    """Return the dtype of half precision that a GPU's tensor cores take."""
    return torch.bfloat16 if compute_capability >= _AMPERE else torch.float16


def play_probe(probe: Probe, gpu: Gpu) -> PlayedStep | None:
    """Return the predicted kernels and times of one piece on `gpu`; None when its rates are unknown."""
    recorder = Recorder("cuda")
    with fake_cuda(), torch.no_grad(), recorder:
        with recorder.phase("data"):
            work = probe.make(New(half_of(gpu.compute_capability)))
        with recorder.phase("update"), recorder.phase("forward"):
            work()
        recorder.stop()
    return play_step(recorded(recorder), 1, gpu)


def recorded(recorder: Recorder, parameters: tuple[Parameter, ...] = ()) -> Trace:
    """Return the trace of what was recorded of no policy."""
    fitted = fit([recorder], (1,))
    if fitted is None:
        raise TraceError("one recording does not agree with itself; please report this")
    nobody = PolicyFacts(
        parameters=parameters, encoder_tokens=0, output_shape=(), components=(), other_component=""
    )
    return Trace(
        key={},
        versions={},
        policy=nobody,
        step_starts=tuple(recorder.step_starts),
        update_starts=tuple(recorder.update_starts),
        phase_starts=tuple(recorder.phase_starts),
        batch_sizes=(1,),
        **fitted,
    )


def _copy(new: New) -> Work:
    return partial(aten.clone, new(64 << 20))


def _add(new: New) -> Work:
    return partial(aten.add, new(32 << 20), new(32 << 20))


def _relu_backward(new: New) -> Work:
    return partial(aten.threshold_backward, new(8, 64, 240, 320), new(8, 64, 240, 320), 0)


def _narrow(new: New) -> Work:
    return partial(aten._to_copy, new(64 << 20), dtype=new.half)


def _dropout(new: New) -> Work:
    return partial(aten.native_dropout, new(_ROWS, _HIDDEN), 0.1, True)  # noqa: FBT003 - aten's


def _lists(new: New, count: int) -> list[list[Tensor]]:
    """Return so many lists like the parameters of a layer of ACT, six times."""
    sizes = (_WIDTH * _HIDDEN, _WIDTH * _WIDTH, _WIDTH * _WIDTH, _HIDDEN, _WIDTH, _WIDTH)
    return [[new(size) for _ in range(6) for size in sizes] for _ in range(count)]


def _foreach_add(new: New) -> Work:
    return partial(aten._foreach_add_, *_lists(new, 2))


def _foreach_addcdiv(new: New) -> Work:
    return partial(aten._foreach_addcdiv_, *_lists(new, 3), 0.1)


def _frozen_norm(new: New) -> Work:
    return partial(aten.mul, new(16, 64, 120, 160), new(1, 64, 1, 1))


def _transposed(new: New) -> Work:
    return partial(aten.clone, new(602, 16, _HIDDEN).transpose(0, 1), memory_format=torch.contiguous_format)


def _widen(new: New) -> Work:
    return partial(aten._to_copy, new(64 << 20, dtype=new.half), dtype=torch.float32)


def _softmax(new: New) -> Work:
    return partial(aten._softmax, new(128, 602, 602), -1, False)  # noqa: FBT003 - aten's


def _softmax_backward(new: New) -> Work:
    shape = 128, 602, 602
    return partial(aten._softmax_backward_data, new(*shape), new(*shape), -1, torch.float32)


def _layer_norm(new: New) -> Work:
    return partial(aten.native_layer_norm, new(4 * _ROWS, _WIDTH), [_WIDTH], new(_WIDTH), new(_WIDTH), 1e-5)


def _layer_norm_backward(new: New) -> Work:
    rows, weight = new(4 * _ROWS, _WIDTH), new(_WIDTH)
    _out, mean, rstd = aten.native_layer_norm(rows, [_WIDTH], weight, weight, 1e-5)
    gradient, wanted = new(4 * _ROWS, _WIDTH), [True, True, True]
    return partial(
        aten.native_layer_norm_backward, gradient, rows, [_WIDTH], mean, rstd, weight, weight, wanted
    )


def _column_sums(new: New) -> Work:
    return partial(aten.sum, new(_ROWS, _HIDDEN), [0], True)  # noqa: FBT003 - aten's


def _row_sums(new: New) -> Work:
    return partial(aten.mean, new(4 * _ROWS, _WIDTH), [-1], True)  # noqa: FBT003 - aten's


def _linear(new: New, *, half: bool = False) -> Work:
    dtype = new.half if half else torch.float32
    rows, weight = new(_ROWS, _WIDTH, dtype=dtype), new(_HIDDEN, _WIDTH, dtype=dtype)
    return partial(aten.addmm, new(_HIDDEN, dtype=dtype), rows, weight.t())


def _linear_input(new: New, *, half: bool = False) -> Work:
    dtype = new.half if half else torch.float32
    return partial(aten.mm, new(_ROWS, _HIDDEN, dtype=dtype), new(_HIDDEN, _WIDTH, dtype=dtype))


def _linear_weight(new: New, *, half: bool = False) -> Work:
    dtype = new.half if half else torch.float32
    return partial(aten.mm, new(_ROWS, _HIDDEN, dtype=dtype).t(), new(_ROWS, _WIDTH, dtype=dtype))


def _scores(new: New) -> Work:
    return partial(aten.bmm, new(128, 602, 64), new(128, 602, 64).transpose(1, 2))


def _attention(new: New, *, half: bool = False) -> Work:
    """Fused: flash in half precision, where a GPU has it, else memory-efficient."""
    dtype = new.half if half else torch.float32
    heads = [new(16, 8, 602, 64, dtype=dtype) for _ in range(3)]
    if half and dtype == torch.bfloat16:
        return partial(aten._scaled_dot_product_flash_attention, *heads)
    return partial(aten._scaled_dot_product_efficient_attention, *heads, None, True)  # noqa: FBT003 - aten's


def _convolution(new: New, channels: tuple[int, int], size: tuple[int, int], stride: int = 1) -> Work:
    return partial(aten.convolution, *_convolved(new, channels, size), None, *_arguments(stride))


def _convolution_backward(new: New, channels: int, size: tuple[int, int]) -> Work:
    image, weight = _convolved(new, (channels, channels), size)
    gradient, wanted = new(*image.shape), [True, True, False]
    return partial(aten.convolution_backward, gradient, image, weight, None, *_arguments(1), wanted)


def _convolved(new: New, channels: tuple[int, int], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    return new(16, channels[0], *size), new(channels[1], channels[0], 3, 3)


def _arguments(stride: int) -> tuple[object, ...]:
    return [stride, stride], [1, 1], [1, 1], False, [0, 0], 1


# By group, those first whose kernels others launch as well.
PROBES: Sequence[Probe] = (
    Probe("copy", MEMORY, _copy),
    Probe("addition", MEMORY, _add),
    Probe("backward of relu", MEMORY, _relu_backward),
    Probe("cast to half precision", MEMORY, _narrow),
    Probe("dropout", MEMORY, _dropout),
    Probe("multi-tensor addition", MEMORY, _foreach_add),
    Probe("multi-tensor division", MEMORY, _foreach_addcdiv),
    Probe("product with a channel's factor", STRIDES, _frozen_norm),
    Probe("transposed copy", STRIDES, _transposed),
    Probe("cast from half precision", STRIDES, _widen),
    Probe("softmax", SUMS, _softmax),
    Probe("backward of softmax", SUMS, _softmax_backward),
    Probe("layer norm", SUMS, _layer_norm),
    Probe("backward of layer norm", SUMS, _layer_norm_backward),
    Probe("sums of columns", SUMS, _column_sums),
    Probe("means of rows", SUMS, _row_sums),
    Probe("linear layer", TF32, _linear),
    Probe("linear layer, gradient of the input", TF32, _linear_input),
    Probe("linear layer, gradient of the weight", TF32, _linear_weight),
    Probe("attention scores", TF32, _scores),
    Probe("attention", TF32, _attention),
    Probe("linear layer in half precision", HALF, partial(_linear, half=True)),
    Probe("the same, gradient of the input", HALF, partial(_linear_input, half=True)),
    Probe("the same, gradient of the weight", HALF, partial(_linear_weight, half=True)),
    Probe("attention in half precision", HALF, partial(_attention, half=True)),
    Probe("convolution, 64 channels", CONV, partial(_convolution, channels=(64, 64), size=(120, 160))),
    Probe(
        "convolution, 64 to 128, stride 2",
        CONV,
        partial(_convolution, channels=(64, 128), size=(120, 160), stride=2),
    ),
    Probe("convolution, 256 channels", CONV, partial(_convolution, channels=(256, 256), size=(30, 40))),
    Probe("convolution, 512 channels", CONV, partial(_convolution, channels=(512, 512), size=(15, 20))),
    Probe("its backward, 64 channels", CONV, partial(_convolution_backward, channels=64, size=(120, 160))),
    Probe("its backward, 256 channels", CONV, partial(_convolution_backward, channels=256, size=(30, 40))),
)
