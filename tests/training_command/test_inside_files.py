"""A command that stands in another tool's file means what it means alone; its variables count."""

from __future__ import annotations

import json

import pytest

from actprof.training_command.command_line import parse_command_line
from actprof.training_command.inside_files import command_in_file

FLAGS = ["--policy.type=act", "--dataset.repo_id=me/so101", "--batch_size=8"]
WORDS = ["lerobot-train", *FLAGS]
PLAIN = " ".join(WORDS)
NAME, VALUE = "PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True"

FILES = {
    "dockerfile": f"FROM image\nWORKDIR /x\nRUN pip install lerobot\nCMD {json.dumps(WORDS)}",
    "dockerfile's shell": f"FROM image\nCMD {PLAIN}",
    "entry point and command": f'ENTRYPOINT ["lerobot-train"]\nCMD {json.dumps(FLAGS)}',
    "compose": f"services:\n  train:\n    image: lerobot\n    command: {PLAIN}\n",
    "compose's list": "    command:\n" + "".join(f"      - {word}\n" for word in WORDS),
    "kubernetes": f"command: [lerobot-train]\nargs: {json.dumps(FLAGS)}",
    "kubernetes' shell": f'command: ["/bin/sh", "-c"]\nargs: ["pip install x && {PLAIN}"]',
    "workflow": f"jobs:\n  a:\n    steps:\n      - name: train\n        run: |\n          {PLAIN}\n",
    "skypilot": f"resources:\n  accelerators: A100:1\nrun: |\n  conda activate lerobot\n  {PLAIN}\n",
    "launch.json": json.dumps(
        {"configurations": [{"module": "lerobot.scripts.lerobot_train", "args": FLAGS}]}
    ),
    "launch.json's program": json.dumps({"program": "src/lerobot/scripts/lerobot_train.py", "args": FLAGS}),
    "subprocess": f"import subprocess\nsubprocess.run({WORDS}, check=True)",
    "os.system": f'import os\nos.system("{PLAIN}")',
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_means_what_its_command_means(kind):
    """Whatever stands around it."""
    assert tuple(FLAGS) == parse_command_line(FILES[kind]).arguments


@pytest.mark.parametrize(
    "text",
    [
        f"FROM image\nENV {NAME}={VALUE}\nCMD {PLAIN}",
        f"FROM image\nENV {NAME} {VALUE}\nCMD {json.dumps(WORDS)}",
        f"environment:\n  {NAME}: {VALUE}\ncommand: {PLAIN}",
        f"environment:\n  - {NAME}={VALUE}\ncommand: {PLAIN}",
        f"env:\n- name: {NAME}\n  value: {VALUE}\ncommand: {json.dumps(WORDS)}",
        f"[Service]\nEnvironment={NAME}={VALUE}\nExecStart=/opt/venv/bin/{PLAIN}\n",
        f"envs:\n  {NAME}: {VALUE}\nrun: |\n  {PLAIN}",
    ],
)
def test_variables_of_a_file_count(text):
    """They are set before the command."""
    line = parse_command_line(text)
    assert (tuple(FLAGS), VALUE) == (line.arguments, line.environment[NAME])


@pytest.mark.parametrize("text", [PLAIN, "", "command: [", "run: true", "subprocess.run(", "CMD", "[1, 2]"])
def test_what_is_no_such_file_is_left_alone(text):
    """It is read as a shell's text."""
    assert "" == command_in_file(text)
