"""Which kernels ops launch, and what each takes: small calls, worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from actprof.cudnn import CUDA_CORES, TENSOR_CORES, Architecture, Convolution, Plan
from actprof.cudnn.problem import dense_strides
from actprof.hardware import find_gpu
from actprof.step_time import kernel as k
from actprof.step_time.convolutions import convolution_kernels
from actprof.step_time.kernel import Kernel, Product
from actprof.step_time.kernel_time import MEASURED, card_of, carried_over, kernel_time, traffic
from actprof.step_time.memory_ops import memory_kernels, pointwise
from actprof.step_time.products import attention_kernels, product_kernels
from actprof.step_time.rates import default_rates
from actprof.trace.calls import Call, Operand

RATES = default_rates()
HOPPER = Architecture(
    compute_capability=(9, 0),
    multiprocessors=132,
    threads_per_multiprocessor=2048,
    clock_khz=1_980_000,
    memory_clock_khz=2_619_000,
)
AMPERE = replace(HOPPER, compute_capability=(8, 6), multiprocessors=82)


def tensor(*shape, strides=None, dtype="float32"):
    return Operand(shape, strides or dense_strides(shape), dtype)


def kinds(kernels):
    return [kernel.kind for kernel in kernels]


def of(name, *operands, out=None, extra=(), moved=4096.0, launches=0):
    return memory_kernels(name, Call((*operands, *extra), (out,), launches), moved)


# -- what moves memory -------------------------------------------------------------------------------------


def test_an_elementwise_op_goes_in_vectors_where_everything_lies_alike():
    """A number beside it makes no difference, a row that is repeated does."""
    whole, row = tensor(8, 16), tensor(16)

    assert k.ELEMENTWISE == pointwise(Call((whole, whole), (whole,)), 1.0).kind
    assert k.ELEMENTWISE == pointwise(Call((whole, tensor()), (whole,)), 1.0).kind
    assert (k.STRIDED, 128, 0) == strided(pointwise(Call((whole, row), (whole,)), 1.0))


def strided(kernel):
    return kernel.kind, kernel.elements, kernel.across


def test_what_is_read_across_its_fastest_dimension_is_counted():
    """Half of a transposed copy's elements have no neighbour beside them."""
    assert (k.STRIDED, 128, 128) == strided(
        pointwise(Call((tensor(8, 16, strides=(1, 8)),), (tensor(8, 16),)), 1.0)
    )


def test_a_cast_to_a_narrower_dtype_goes_in_vectors_and_no_other():
    """A mask of flags is no number that would be cast."""
    wide, narrow, flags = (tensor(8, 16, dtype=name) for name in ("float32", "bfloat16", "bool"))

    assert k.ELEMENTWISE == pointwise(Call((wide,), (narrow,)), 1.0).kind
    assert k.STRIDED == pointwise(Call((narrow,), (wide,)), 1.0).kind
    assert k.ELEMENTWISE == pointwise(Call((wide, flags), (wide,)), 1.0).kind


SQUARE, LONG, TURNED = tensor(4, 4), tensor(8, 4), tensor(4, 4, strides=(1, 4))


@pytest.mark.parametrize(
    ("kernels", "expected"),
    [
        (of("_softmax_backward_data", SQUARE, SQUARE, out=SQUARE), [k.ELEMENTWISE, k.SOFTMAX]),
        (of("native_layer_norm", SQUARE, out=SQUARE), [k.NORM]),
        (of("native_layer_norm", TURNED, out=SQUARE), [k.STRIDED, k.NORM]),
        (of("native_layer_norm_backward", SQUARE, SQUARE, out=SQUARE), [k.NORM_INPUT, k.NORM_WEIGHT]),
        (of("native_dropout", SQUARE, out=SQUARE), [k.RANDOM]),
        (of("slice_backward", SQUARE, out=LONG), [k.FILL, k.STRIDED]),
        (of("max_pool2d_with_indices_backward", SQUARE, out=LONG), [k.FILL, k.POOL_BACKWARD]),
        (of("zeros", out=tensor(4)), [k.FILL]),
        (of("empty_like", tensor(4), out=tensor(4)), []),
        (of("_local_scalar_dense", tensor()), [k.TRANSFER]),
        (of("_foreach_norm", launches=5), [k.FILL, *[k.MULTI_TENSOR] * 3, k.REDUCTION]),
        (of("_foreach_add_", launches=3), [k.MULTI_TENSOR] * 3),
        (of("sum", SQUARE, out=tensor(1, 4), extra=((0,), True)), [k.REDUCTION]),
        (of("native_group_norm", SQUARE, out=SQUARE), [k.REDUCTION, k.ELEMENTWISE, k.STRIDED]),
    ],
)  # fmt: skip
def test_ops_of_several_kernels(kernels, expected):
    """As PyTorch's source has them."""
    assert expected == kinds(kernels)


def test_a_repeated_tensor_is_copied_with_places_of_its_own():
    """What is repeated is smaller than the result."""
    assert [k.STRIDED] == kinds(of("repeat", tensor(4, 4), extra=((2, 1),), out=LONG))


@pytest.mark.parametrize(
    ("extra", "out", "across"),
    [
        ((2, (1,), True), tensor(4, 1), 0),
        ((2, (2,), True), tensor(4, 8, 1), 32 * 3),
        ((None, False), tensor(), 0),
    ],
    ids=["norm along rows", "norm of another dimension", "flags are no dimensions"],
)
def test_a_reduction_knows_its_dimensions_among_its_arguments(extra, out, across):
    """An order comes before them in a norm, a flag behind them."""
    turned = tensor(4, 8, 3, strides=(1, 4, 32)) if across else tensor(4, 8)
    (kernel,) = of("linalg_vector_norm", turned, extra=extra, out=out)

    assert across == kernel.across


def test_what_depends_on_the_data_moves_it_once():
    """Of the kernels of `nonzero` the last one writes."""
    kernels = of("nonzero", SQUARE, out=tensor(16, 2, dtype="int64"))
    assert 4096.0 == kernels[-1].bytes == max(kernel.bytes for kernel in kernels)
    assert sum(kernel.bytes for kernel in kernels) < 1.2 * 4096


@pytest.mark.parametrize(("count", "dtypes", "expected"), [(3, 1, 1), (129, 1, 2), (5, 2, 5)])
def test_tensors_are_concatenated_128_at_once(count, dtypes, expected):
    """Those of several dtypes one by one, each cast."""
    names = ("float32", "bfloat16")[:dtypes]
    given = tuple(tensor(4, dtype=names[index % dtypes]) for index in range(count))
    kernels = memory_kernels("cat", Call((given, 0), (tensor(4 * count),)), 4096.0)

    assert expected == len(kernels)
    assert 4096.0 == pytest.approx(sum(kernel.bytes for kernel in kernels))


# -- products and attention --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "right", "layout", "aligned"),
    [
        (tensor(64, 32), tensor(32, 16, strides=(1, 32)), "tn", True),
        (tensor(64, 32), tensor(32, 16), "nn", True),
        (tensor(64, 32, strides=(1, 64)), tensor(32, 16), "nt", True),
        (tensor(64, 602), tensor(602, 16), "nn", False),
    ],
)
def test_a_product_knows_how_its_operands_lie(left, right, layout, aligned):
    """As BLAS names them; 602 floats are no multiple of 16 bytes."""
    (kernel,) = product_kernels("mm", Call((left, right), (tensor(64, 16),)), 1.0, 2.0, AMPERE, fused=False)

    assert Product(1, 64, 16, left.shape[1], layout, aligned) == kernel.product


def test_a_bias_that_is_not_fused_is_copied_first():
    """`addmm` with a vector goes through cuBLASLt in one kernel."""
    call = Call((tensor(16), tensor(64, 32), tensor(32, 16)), (tensor(64, 16),))

    assert [k.PRODUCT] == kinds(product_kernels("addmm", call, 1.0, 2.0, AMPERE, fused=True))
    assert [k.STRIDED, k.PRODUCT] == kinds(product_kernels("addmm", call, 1.0, 2.0, AMPERE, fused=False))


def test_large_products_on_hopper_and_deep_sums_have_a_small_kernel_beside():
    """Counters are cleared, or the parts of a split sum added up."""
    large = Call((tensor(4816, 512), tensor(512, 512)), (tensor(4816, 512),))
    deep = Call((tensor(512, 4816), tensor(4816, 512)), (tensor(512, 512),))

    assert [k.FILL, k.PRODUCT] == kinds(product_kernels("mm", large, 1.0, 2.0, HOPPER, fused=False))
    assert [k.PRODUCT] == kinds(product_kernels("mm", large, 1.0, 2.0, AMPERE, fused=False))
    assert [k.FILL, k.PRODUCT] == kinds(product_kernels("mm", deep, 1.0, 2.0, AMPERE, fused=False))


def test_the_reverse_of_attention_sums_up_rows_first():
    """One kernel forward, two backward."""
    call = Call((tensor(2, 4, 8, 16),), (tensor(2, 4, 8, 16),))
    assert [k.ATTENTION] == kinds(attention_kernels("_scaled_dot_product_flash_attention", call, 1.0, 2.0))
    name = "_scaled_dot_product_flash_attention_backward"
    assert [k.ELEMENTWISE, k.ATTENTION] == kinds(attention_kernels(name, call, 1.0, 2.0))


# -- convolutions ------------------------------------------------------------------------------------------

IMAGE, WEIGHT, OUTPUT = (8, 64, 32, 32), (128, 64, 3, 3), (8, 128, 32, 32)
SIZES = [4 * 8 * 64 * 32 * 32, 4 * 128 * 64 * 9, 4 * 8 * 128 * 32 * 32]


def problem(kind="forward", *, last=False):
    return Convolution(
        kind=kind, dtype="float32", image=IMAGE, weight=WEIGHT, output=OUTPUT,
        image_strides=dense_strides(IMAGE, last=last), weight_strides=dense_strides(WEIGHT, last=last),
        output_strides=dense_strides(OUTPUT, last=last), padding=(1, 1), stride=(1, 1), dilation=(1, 1),
    )  # fmt: skip


def solved(kind, workspace, arithmetic=TENSOR_CORES, *, last=False, bias=None):
    image, weight, output = tensor(*IMAGE), tensor(*WEIGHT), tensor(*OUTPUT)
    call = Call((image, weight, bias, (1, 1)), (output,))
    plan = Plan(1, workspace, deterministic=True, arithmetic=arithmetic)
    return convolution_kernels(call, [(problem(kind, last=last), plan)], 1.0)


def test_a_plan_with_room_for_all_converts_before_and_after():
    """Image and weight before, the output after; the counters that a kernel begins with besides."""
    everything = sum(SIZES)
    expected = [k.LAYOUT, k.LAYOUT, k.FILL, k.CONVOLUTION, k.LAYOUT]
    assert expected == kinds(solved("forward", everything))


def test_a_plan_with_room_for_what_it_reads_writes_channels_first():
    """One conversion less."""
    assert [k.LAYOUT, k.LAYOUT, k.FILL, k.CONVOLUTION] == kinds(solved("forward", SIZES[0] + SIZES[1]))


@pytest.mark.parametrize(
    ("workspace", "arithmetic", "last"), [(0, TENSOR_CORES, True), (0, CUDA_CORES, False)]
)
def test_nothing_is_converted_without_need(workspace, arithmetic, last):
    """Channels last already, or ordinary cores."""
    assert k.LAYOUT not in kinds(solved("forward", workspace, arithmetic, last=last))


def test_the_weights_gradient_is_cleared_first_and_its_parts_added_up():
    """Its own layout is converted last."""
    expected = [k.LAYOUT, k.LAYOUT, k.FILL, k.CONVOLUTION, k.ELEMENTWISE, k.LAYOUT]
    assert expected == kinds(solved("weight", sum(SIZES)))


def test_a_convolution_is_a_product():
    """Rows are pixels, columns channels, the depth all that is summed up."""
    (kernel,) = [one for one in solved("forward", 0) if one.kind == k.CONVOLUTION]

    assert Product(1, 8 * 32 * 32, 128, 64 * 9, "forward") == kernel.product
    assert 2 * 8 * 32 * 32 * 128 * 64 * 9 == kernel.flops


def test_a_bias_is_added_afterwards():
    """In a kernel of its own."""
    assert k.STRIDED == kinds(solved("forward", 0, bias=tensor(128)))[-1]


@pytest.mark.parametrize(
    ("wanted", "factor"), [(None, 1), ((True, True, False), 2), ((False, True, False), 1)]
)
def test_of_a_convolution_of_each_channel_alone_each_has_its_own_sum(wanted, factor):
    """The gradient of the weight is no product of all channels with all others."""
    image, weight = tensor(8, 64, 32, 32), tensor(64, 1, 3, 3)
    shape = (1, 1), (1, 1), (1, 1), False, (0, 0), 64
    forward = Call((image, weight, None, *shape), (image,))
    reverse = Call((image, image, weight, None, *shape, wanted), (image, weight, None))
    (kernel,) = convolution_kernels(reverse if wanted else forward, [], 1.0)

    assert factor * 2 * 8 * 64 * 32 * 32 * 9 == kernel.flops
    assert CUDA_CORES == kernel.engine


# -- seconds -----------------------------------------------------------------------------------------------


def test_the_longer_of_arithmetic_and_traffic_counts():
    """And the least that such a kernel takes on top."""
    product = Product(1, 8192, 8192, 8192, "tn")
    flops = 2.0 * 8192**3
    busy = kernel_time(Kernel(k.PRODUCT, 1.0, flops=flops, product=product), MEASURED, RATES)
    starved = kernel_time(Kernel(k.PRODUCT, 1e12, flops=flops, product=product), MEASURED, RATES)

    assert busy.arithmetic > busy.traffic
    assert busy.seconds == pytest.approx(
        RATES.product_seconds + flops / (RATES.products["tn"] * 494e12), rel=0.05
    )
    assert starved.seconds == pytest.approx(starved.least + starved.traffic)
    assert starved.seconds > busy.seconds


def test_an_empty_kernel_takes_its_least():
    """Microseconds, by kind."""
    for kind, rate in RATES.memory.items():
        assert rate.seconds == pytest.approx(kernel_time(Kernel(kind, 0.0), MEASURED, RATES).seconds)


def test_small_tensors_come_from_the_cache():
    """Twice as fast or so, until they are half as large again as it is."""
    share = RATES.memory[k.ELEMENTWISE].share
    per_byte = [traffic(size, share, MEASURED, RATES) / size for size in (2**20, 2**25, 2**26, 2**27, 2**30)]

    assert per_byte == sorted(per_byte)
    assert per_byte[-1] == per_byte[-2] == pytest.approx(1 / (share * MEASURED.bandwidth))


def test_slower_tensor_cores_are_used_better():
    """What else holds a kernel up weighs less: the share nears the best."""
    slow = card_of(find_gpu("RTX 3090"))

    assert 0.45 == pytest.approx(carried_over(0.45, "float32", MEASURED, RATES))
    assert 0.45 < carried_over(0.45, "float32", slow, RATES) < RATES.best


def test_a_card_without_such_tensor_cores_multiplies_on_its_ordinary_ones():
    """A T4 has none for float32."""
    old = card_of(find_gpu("T4"))
    kernel = Kernel(k.PRODUCT, 1.0, flops=2.0 * 4096**3, product=Product(1, 4096, 4096, 4096, "tn"))

    assert kernel_time(kernel, old, RATES).seconds > 2.0 * 4096**3 / old.fp32


def test_a_card_that_has_not_the_power_is_slower_throughout():
    """Of the T4 a clock and a bandwidth under load are known, below its data sheet's."""
    gpu = find_gpu("T4")
    card, rated = (
        card_of(gpu),
        card_of(replace(gpu, sustained_clock_hz=None, sustained_bandwidth_bytes_per_s=None)),
    )

    assert card.fp32 < rated.fp32
    assert card.bandwidth < rated.bandwidth


def test_a_gpu_of_unknown_speed_is_no_card():
    """A user's own entry may leave the bandwidth out."""
    assert card_of(replace(find_gpu("RTX 3090"), memory_bandwidth_bytes_per_s=None)) is None
