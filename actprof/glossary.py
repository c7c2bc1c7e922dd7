"""The terms that answers use, a plain sentence each; the terminal and the documentation print them from here.

`GLOSSARY` maps a term, as it stands in answers, to its sentence. A term may name a second one in brackets.
"""

from __future__ import annotations

from actprof.errors import UsageError, did_you_mean

GLOSSARY: dict[str, str] = {
    # -- memory --
    "allocated": "What tensors take, in whole blocks of PyTorch's caching allocator, a multiple of 512 "
    "bytes each (`torch.cuda.memory_allocated`, lerobot's `mem_gb`).",
    "reserved": "What PyTorch took from the device for tensors, whether in use or cached "
    "(`torch.cuda.memory_reserved`).",
    "process": "Reserved memory and the CUDA context together: what nvidia-smi shows for the process, and "
    "what has to fit on the card.",
    "CUDA context": "What the driver keeps on the card for each process beside PyTorch's memory, such as "
    "the code of kernels: some hundred MiB.",
    "cached": "Reserved memory that no tensor uses: PyTorch keeps freed blocks for later tensors, and gives "
    "wholly free segments back to the device before it runs out of memory.",
    "fragmentation": "Free memory in pieces that are each too small for the next tensor, so that more must "
    "be reserved although enough is free in sum.",
    "segment (block)": "A piece of memory that PyTorch takes from the device at once, and cuts into the "
    "blocks that tensors get.",
    "expandable segments": "A setting of PyTorch (`PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True`) by "
    "which a segment grows page by page where it is, so that less is lost to fragmentation.",
    "native": "PyTorch's default allocator settings, under which a segment keeps its size; the accuracy "
    "ledger tells such runs from those with expandable segments.",
    "cache flush (retry)": "The card is full, so PyTorch gives the free segments that it cached back "
    "to the device and asks again: the run goes on, and each time costs time.",
    "workspace": "Memory that a kernel needs only while it computes, as convolutions of cuDNN and matrix "
    "multiplications of cuBLAS do; PyTorch takes it from its reserved memory.",
    "headroom": "Of a run that gets through, what is left of the card at its peak, held to the card; of one "
    "that runs out, negative: what lacks for what it would take on a card without limit.",
    "activation": "A tensor of the forward pass that is kept until the backward pass needs it; activations "
    "grow with the batch size and are mostly the largest part.",
    "optimizer state": "What the optimizer keeps for each parameter from step to step, for AdamW two "
    "numbers; it appears at the end of the first step, so the peak mostly comes in the second.",
    # -- policies --
    "token": "One vector in the sequence that a transformer works on: a patch of an image, the robot's "
    "state, an action, a piece of text.",
    "attention map": "How much each token looks at each other one: as many numbers as tokens squared for "
    "every head of every sample.",
    "chunk": "The actions that a policy predicts at once, one for each coming time step (`chunk_size`).",
    # -- several at once --
    "DDP (DistributedDataParallel)": "Each GPU trains the whole policy on a batch of its own, and gradients "
    "are averaged in buckets while the backward pass goes on, so that each holds them once more.",
    "FSDP (fully_shard)": "Each GPU holds a part of the parameters, gradients and optimizer state, and "
    "gathers the parameters of a unit, such as a layer, while that is computed.",
    "global batch": "The samples of all GPUs together in one step of the optimizer: the batch size, which "
    "lerobot gives each GPU, times their number.",
    "NCCL": "NVIDIA's library by which GPUs send each other gradients and parameters; its own memory is none "
    "of PyTorch's.",
    "shared memory (/dev/shm)": "Memory of the host in which workers of a data loader hand over batches; a "
    "container of docker's has 64 MiB of it unless `--shm-size` says more.",
    # -- what may be changed --
    "gradient checkpointing": "Keeps only the inputs of layers, and runs the layers a second time in the "
    "backward pass: less memory for more computation, the same gradients.",
    "gradient accumulation": "Several smaller batches for one step: their gradients are summed before the "
    "optimizer's step, so the memory is that of the smaller batch.",
    "attention without stored maps (fused_attention)": "A kernel computes attention piece by piece, and "
    "again in the backward pass, instead of storing the maps (`scaled_dot_product_attention`): the same "
    "result but for rounding.",
    "mixed precision (autocast)": "Matrix multiplications and convolutions run in 16 bits (bf16 or fp16) "
    "while parameters stay in fp32: smaller activations, and faster on tensor cores.",
    "TF32": "How tensor cores multiply fp32 numbers, with 10 bits of the mantissa instead of 23: faster, "
    "and no less memory, since tensors keep 32 bits.",
    "LoRA": "Trains two small matrices beside each chosen frozen one: gradients and optimizer state shrink, "
    "while activations stay.",
    "8-bit AdamW (adamw_8bit)": "AdamW of bitsandbytes, whose state takes one byte a number instead of "
    "four.",
    "lossless": "A remedy that keeps the mathematics of the training: the same gradients but for rounding; "
    "others change its numerics, the input, the model or the training, and say which.",
    # -- speed --
    "cuDNN plan": "One of the ways in which cuDNN can compute a convolution, each with a speed and a "
    "workspace of its own.",
    "cuDNN benchmark": "PyTorch times the plans of each convolution and takes the fastest "
    "(`torch.backends.cudnn.benchmark`); lerobot turns it on, so memory differs a little from run to run.",
    "kernel launch": "The host tells the GPU to run one function (a kernel); it takes some microseconds, so "
    "that many small kernels leave the GPU waiting for the host.",
    "host": "The processor that runs Python and PyTorch, and launches the GPU's kernels one by one; it runs "
    "ahead of the GPU where it is the faster of the two.",
    "host-bound": "Of a step in which launching takes longer than the kernels themselves, so that kernel "
    "launches limit it: a faster GPU does not help, a larger batch or fewer launches do.",
    "device-bound": "Of a step in which the kernels take longer than launching them, so that arithmetic or "
    "memory bandwidth limits it.",
    "kind of kernel": "What a kernel does, as far as its time depends on it: matrix products, convolutions, "
    "elementwise, reductions and so on, each with its own share of the card's speed.",
    "layout conversion": "A kernel that only reorders a tensor, as for convolutions on tensor cores, which "
    "want the channels last; a policy in channels_last needs few of them.",
    "CUDA graphs": "The kernels of a whole step recorded once and launched as one, so that the host costs "
    "next to nothing (`torch.compile(mode='reduce-overhead')`).",
    "memory bandwidth": "How many bytes a second the card reads and writes in its own memory; what computes "
    "little for each byte is limited by it.",
    "GPU busy": "The share of a step's time in which kernels run; in the rest the GPU waits for the host or "
    "for data.",
    "samples/s": "How many samples a second are trained on: the batch size over the seconds of a step.",
    "DataLoader worker": "A process that reads and decodes samples while the GPU trains (`--num_workers`).",
    "compute capability": "NVIDIA's number for the architecture of a GPU, such as 8.6 for the RTX 30 series "
    "or 9.0 for the H100; it decides which kernels there are.",
    # -- answers --
    "fits": "The run gets through without having to give cached memory back, and leaves at least 3 % of the "
    "card's memory.",
    "tight": "The run gets through, but only after cached memory was given back to the device, or with less "
    "than 3 % to spare, or not with every choice of cuDNN's plans.",
    "out of memory (oom)": "A tensor finds no memory, even after what is cached was given back, and the run "
    "ends there.",
    "cannot be told (unknown)": "There is no answer that can be relied on, and the reason is given.",
    "band": "From the least to the most that repeated runs of one command may take; verdicts stand on its "
    "high end.",
    "largest batch size": "The most samples in a batch with which the run gets through on this card.",
    "trace": "A training step recorded without a GPU: every allocation and free, with its op, module and "
    "phase; one serves every GPU, every allocator setting and mostly every batch size.",
    "check on the CPU": "The real policy is run on the CPU, and its token counts and output shapes are "
    "compared with those of the trace.",
}  # fmt: skip


def find_terms(word: str) -> dict[str, str]:
    """Return the terms that `word` names, as a whole or in part, with their sentences.

    Raises:
        UsageError: no term has it.
    """
    asked = _plain(word)
    found = {term: text for term, text in GLOSSARY.items() if asked and asked in _plain(term)}
    if exact := {term: text for term, text in found.items() if asked in _names(term)}:
        return exact
    if not found:
        names = {name: term for term in GLOSSARY for name in _names(term)}
        hint = did_you_mean(asked, *names) or "`actprof glossary` lists all"
        raise UsageError(f"{word!r} is not in the glossary; {hint}")
    return found


def _names(term: str) -> list[str]:
    """Return both names of a term, the one in brackets last."""
    return [_plain(name) for name in term.removesuffix(")").split(" (")]


def _plain(text: str) -> str:
    return " ".join(text.lower().replace("_", " ").replace("-", " ").split())
