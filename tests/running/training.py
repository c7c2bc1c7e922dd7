"""Prints what lerobot-train 0.6.1 prints, and trains nothing."""

import argparse
import logging
import os
import sys
import time
from pprint import pformat

parser = argparse.ArgumentParser()
for name, default in (("steps", 20), ("log_freq", 5), ("batch_size", 8)):
    parser.add_argument(f"--{name}", type=int, default=default)
parser.add_argument("--output_dir", default="outputs/run")
given = parser.parse_known_args()[0]
update, data = (float(os.environ.get(name, text)) for name, text in (("UPDATE", "0.009"), ("DATA", "0.0")))
device = os.environ.get("DEVICE", "cpu")

logging.basicConfig(level=logging.INFO, format="%(levelname)s %(asctime)s train.py:641 %(message)s")
config = {"batch_size": given.batch_size, "log_freq": given.log_freq, "policy": {"device": device},
          "steps": given.steps}  # fmt: skip
log = logging.getLogger("lerobot")
log.info(pformat(config, width=40))
log.info("\x1b[1m\x1b[33mOutput dir:\x1b[0m %s", given.output_dir)
memory = f" mem_gb:{os.environ.get('MEMORY', '3.73')}" if device == "cuda" else ""
for step in range(1, given.steps + 1):
    time.sleep(float(os.environ.get("SLEEP", "0")))
    if step == int(os.environ.get("RUNS_OUT", "0")):
        sys.exit(
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 472.00 MiB. GPU 0 has a total "
            "capacity of 23.69 GiB of which 446.56 MiB is free. Including non-PyTorch memory, this process "
            "has 23.25 GiB memory in use. Of the allocated memory 22.33 GiB is allocated by PyTorch, and "
            "486.21 MiB is reserved by PyTorch but unallocated."
        )
    sys.stderr.write(f"Training: {100 * step // given.steps}%|##| {step}/{given.steps} [00:00<00:00]\r")
    if step % given.log_freq == 0:
        wobble = 1 + step // given.log_freq % 3 / 100
        log.info(
            "step:%d smpl:%d ep:1 epch:0.10 loss:6.7 grdn:1.2 lr:1.0e-05 updt_s:%.3f data_s:%.3f smp/s:43%s",
            step, 8 * step, update * wobble, data * wobble, memory,
        )  # fmt: skip
log.info("End of training")
sys.exit(int(os.environ.get("CODE", "0")))
