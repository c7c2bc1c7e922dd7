"""Record what a process takes of the card after each thing that PyTorch loads, as NVML says it.

    python benchmarks/gpu/probe_context.py FOLDER [--dry-run]

Writes context.jsonl, one line for each process: the order of its steps, the environment variables that
matter, [step, process bytes, PyTorch's reserved bytes] after each step, and the card's bytes. The difference
of the two is what no segment holds. The process bytes are null where the driver shows none (WSL, some
containers).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import torch
from _common import process_bytes
from torch import nn

Step = Callable[[torch.Tensor], object]
_VARIABLES = ("CUBLAS_WORKSPACE_CONFIG", "CUDA_MODULE_LOADING", "CUDA_DEVICE_MAX_CONNECTIONS")
ORDERS: tuple[tuple[str, dict[str, str]], ...] = (
    ("blas,lt,bigblas,tf32,conv,convb,bench,bn,softmax,ln,adam,handles", {}),
    ("conv,convb,bench,blas,lt,bigblas,handles", {}),
    ("blas,lt,conv,convb,bigblas", {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}),
    ("blas,lt,conv,convb", {"CUDA_MODULE_LOADING": "EAGER"}),
    ("adam,softmax,ln,bn,lt,blas", {}),
)


def bigblas(_x: torch.Tensor) -> None:
    """Multiply matrices that other kernels are taken for."""
    tall = torch.randn(4096, 512, device="cuda")
    tall @ tall.t()
    cubes = tall.view(8, 512, 512)
    torch.bmm(cubes, cubes)


def tf32(x: torch.Tensor) -> None:
    """Multiply as lerobot's training script does."""
    torch.backends.cuda.matmul.allow_tf32 = True
    bigblas(x)


def conv(_x: torch.Tensor) -> None:
    """Convolve forward."""
    nn.functional.conv2d(
        torch.randn(2, 3, 64, 64, device="cuda"), torch.randn(8, 3, 3, 3, device="cuda"), padding=1
    )


def convb(_x: torch.Tensor) -> None:
    """Convolve forward and back, with cuDNN's heuristics or its benchmark."""
    layer = nn.Conv2d(3, 64, 7, 2, 3).cuda()
    layer(torch.randn(2, 3, 224, 224, device="cuda")).sum().backward()


def bench(x: torch.Tensor) -> None:
    """Let cuDNN try all plans."""
    torch.backends.cudnn.benchmark = True
    convb(x)


def bn(_x: torch.Tensor) -> None:
    """Normalise a batch and go back."""
    nn.BatchNorm2d(8).cuda()(torch.randn(2, 8, 8, 8, device="cuda")).sum().backward()


def adam(x: torch.Tensor) -> None:
    """Step an optimizer."""
    weight = nn.Parameter(x.clone())
    weight.grad = x.clone()
    torch.optim.AdamW([weight]).step()


def handles(x: torch.Tensor) -> None:
    """Multiply in a second thread, which takes a cuBLAS handle of its own."""
    thread = threading.Thread(target=lambda: x @ x)
    thread.start()
    thread.join()


ALWAYS: dict[str, Step] = {
    "fill kernel": lambda x: x.fill_(1),
    "randn": torch.randn_like,
    "add": lambda x: x + x,
    "sum": torch.sum,
}
STEPS: dict[str, Step] = {
    "blas": lambda x: x @ x,
    "lt": lambda x: torch.addmm(x[0], x, x),
    "bigblas": bigblas,
    "tf32": tf32,
    "conv": conv,
    "convb": convb,
    "bench": bench,
    "bn": bn,
    "softmax": lambda x: nn.functional.softmax(x.clone().requires_grad_(), -1).sum().backward(),
    "ln": lambda x: nn.functional.layer_norm(x.clone().requires_grad_(), [8], x[0]).sum().backward(),
    "adam": adam,
    "handles": handles,
}


def steps_of(order: list[str]) -> Iterator[tuple[str, int | None, int]]:
    """Take the steps and yield [name, process bytes, reserved bytes] after each.

    Raises:
        KeyError: there is no such step.
    """
    asked = {name: STEPS[name] for name in order}
    torch.cuda.init()
    torch.cuda.synchronize()
    yield "init", process_bytes(), 0
    x = torch.empty(8, 8, device="cuda")
    for name, step in {"one tensor": torch.numel, **ALWAYS, **asked}.items():
        step(x)
        torch.cuda.synchronize()
        yield name, process_bytes(), torch.cuda.memory_reserved()


def line_of(order: list[str]) -> str:
    """Take the steps in this process and return its line."""
    steps = list(steps_of(order))
    environment = {name: os.environ.get(name) for name in _VARIABLES}
    total = torch.cuda.mem_get_info()[1]
    return json.dumps({"order": order, "env": environment, "steps": steps, "total": total})


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--order", help="Take these steps in this process, and print the line.")
@click.option("--dry-run", is_flag=True, help="Say which processes there are.")
def main(*, folder: Path, order: str | None, dry_run: bool) -> None:
    """Write context.jsonl into FOLDER, each line by a process of its own."""
    if order:
        print(line_of(order.split(",")))
        return
    lines = []
    for steps, environment in ORDERS:
        print(steps, environment, flush=True)
        if not dry_run:
            command = [sys.executable, __file__, str(folder), "--order", steps]
            done = subprocess.run(
                command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=True
            )
            lines.append(done.stdout)
    if not dry_run:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "context.jsonl").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
