"""One command in the many forms in which people start it: each means what the plain command means."""

from __future__ import annotations

import json
import shlex

import pytest

from actprof.training_command.command_line import parse_command_line

FLAGS = ["--policy.type=act", "--policy.push_to_hub=false", "--dataset.repo_id=me/so101", "--batch_size=8",
         "--steps=100"]  # fmt: skip
PLAIN = shlex.join(["lerobot-train", *FLAGS])
LINES = " \\\n  ".join(["lerobot-train", *FLAGS])
TICKS = " `\n  ".join(["lerobot-train", *FLAGS])
CARETS = " ^\n  ".join(["lerobot-train", *FLAGS])
MODULE = f"python -m lerobot.scripts.lerobot_train {shlex.join(FLAGS)}"
CONF = "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True"
SET = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}

SAME = {
    "lines that go on": LINES,
    "windows line ends": LINES.replace("\n", "\r\n"),
    "powershell": TICKS,
    "cmd": CARETS,
    "powershell's program": "& .venv\\Scripts\\lerobot-train.exe " + " ".join(FLAGS),
    "powershell -Command": f'powershell -NoProfile -Command "{PLAIN}"',
    "cmd /c": f"cmd /c {PLAIN}",
    "prompt": f"$ {PLAIN}",
    "prompt of an environment": f"(lerobot) me@box:~/lerobot$ {PLAIN}",
    "powershell's prompt": f"PS C:\\Users\\me> {PLAIN}",
    "notebook": f"!{LINES}",
    "notebook with a blank": f"! {PLAIN}",
    "notebook of lines": f"%cd /content\n!pip install lerobot\n!{LINES}",
    "cell magic": f"%%bash\n{LINES}",
    "timed cell": f"%%time\n!{PLAIN}",
    "notebook's python": "!{sys.executable} -m lerobot.scripts.lerobot_train " + " ".join(FLAGS),
    "tee": f"{PLAIN} 2>&1 | tee train.log",
    "files": f"{PLAIN} > out.txt 2> err.txt < /dev/null",
    "both to a file": f"{PLAIN} &> out.txt &",
    "background": f"nohup {PLAIN} > train.log 2>&1 &",
    "yes": f"yes | {PLAIN}",
    "comments": f"# train\n{PLAIN}  # and wait\n# done",
    "activate": f"source .venv/bin/activate && {PLAIN}",
    "conda activate": f'eval "$(conda shell.bash hook)"; conda activate lerobot; {PLAIN}',
    "subshell": f"(set -e; {PLAIN})",
    "group": f"{{ {PLAIN}; }}",
    "condition": f"if nvidia-smi; then {PLAIN}; fi",
    "or": f"[ -d outputs ] || {PLAIN}",
    "array": f"A=(\n  {' '.join(FLAGS[:3])}  # data\n {' '.join(FLAGS[3:])}\n)\n" + 'lerobot-train "${A[@]}"',
    "here-document": f"bash <<'EOF'\n{PLAIN}\nEOF",
    "variables": "N=8; REPO=me/so101\nlerobot-train --policy.type=act --policy.push_to_hub=false "
                 '--dataset.repo_id="${REPO}" --batch_size=$N --steps=${STEPS:-100}',
    "flags in a variable": f'FLAGS="{" ".join(FLAGS)}"; lerobot-train $FLAGS',
    "loop": "for b in 8 16; do lerobot-train " + " ".join(FLAGS).replace("=8", "=$b") + "; done",
    "bash -c": f"bash -c {shlex.quote(PLAIN)}",
    "bash -lc": f"bash -lc {shlex.quote('cd / && ' + PLAIN)}",
    "bash -euxo pipefail -c": f"bash -euxo pipefail -c {shlex.quote(LINES)}",
    "sh -c exec": f"sh -c {shlex.quote('exec ' + PLAIN)}",
    "zsh -ic": f"zsh -ic {shlex.quote(PLAIN)}",
    "docker": f"docker run --gpus all --rm -it --shm-size=16g -v $PWD:/work lerobot-gpu:latest {PLAIN}",
    "docker with python": f"docker run --gpus all --ipc host image {MODULE}",
    "docker bash": f"sudo docker run --rm image bash -c {shlex.quote('pip install . && ' + PLAIN)}",
    "docker exec": f"docker exec -it lerobot {PLAIN}",
    "docker compose": f"docker compose run --rm trainer {PLAIN}",
    "docker entrypoint": f"docker run --entrypoint lerobot-train image {shlex.join(FLAGS)}",
    "docker of that name": f"docker run --name lerobot-train --gpus all image {PLAIN}",
    "podman": f"podman run --device nvidia.com/gpu=all --security-opt=label=disable image {PLAIN}",
    "singularity": f"singularity exec --nv -B /data:/data lerobot.sif {PLAIN}",
    "apptainer": f"apptainer run --nv lerobot.sif {PLAIN}",
    "kubectl": f"kubectl exec -it pod/train -- {PLAIN}",
    "enroot": f"enroot start --rw lerobot {PLAIN}",
    "sudo": f"sudo {PLAIN}",
    "sudo -E": f"sudo -E env PATH=/opt/bin {PLAIN}",
    "sudo -u": f"sudo -u me -E {PLAIN}",
    "su": f"su - me -c {shlex.quote(PLAIN)}",
    "wsl": f"wsl -d Ubuntu -- {PLAIN}",
    "wsl bash": f"wsl bash -lc {shlex.quote(PLAIN)}",
    "ssh": f"ssh -p 2222 me@gpu01 {shlex.quote('cd lerobot && ' + PLAIN)}",
    "hf jobs": f"hf jobs run --flavor a10g-large --timeout 4h --secrets HF_TOKEN image {PLAIN}",
    "hf jobs bash": f"hf jobs run --flavor a10g-large image bash -c {shlex.quote(PLAIN)}",
    "hf jobs uv": f"hf jobs uv run --flavor l4x1 --with lerobot {PLAIN}",
    "hf jobs uv script": "hf jobs uv run --flavor l4x1 https://huggingface.co/lerobot_train.py "
                         + " ".join(FLAGS),
    "conda run": f"conda run -n lerobot --no-capture-output {PLAIN}",
    "conda run python": f"conda run -n python {MODULE}",
    "mamba": f"mamba run -n lerobot {PLAIN}",
    "micromamba": f"micromamba run -p /envs/lerobot {PLAIN}",
    "uv run": f"uv run --with 'lerobot[training]' --python 3.12 {PLAIN}",
    "uv run --no-sync": f"uv run --no-sync python -m lerobot.scripts.lerobot_train {shlex.join(FLAGS)}",
    "uvx": f"uvx --from 'lerobot[training]' {PLAIN}",
    "pipx": f"pipx run --spec lerobot {PLAIN}",
    "poetry": f"poetry run {PLAIN}",
    "pixi": f"pixi run -e gpu {PLAIN}",
    "pdm": f"pdm run {PLAIN}",
    "hatch": f"hatch run {PLAIN}",
    "srun": f"srun -N 1 -n 1 --gres=gpu:1 --cpus-per-task 8 {PLAIN}",
    "srun in a container": f"srun --container-image=image --container-mounts=/data:/data {PLAIN}",
    "sbatch --wrap": f"sbatch --gres=gpu:1 --wrap={shlex.quote(PLAIN)}",
    "sbatch --wrap apart": f"sbatch --gres=gpu:1 --wrap {shlex.quote(PLAIN)}",
    "nice": f"nice -n 10 ionice -c 3 {PLAIN}",
    "time": f"time {PLAIN}",
    "gnu time": f"/usr/bin/time -v -o time.txt {PLAIN}",
    "timeout": f"timeout --signal=INT 12h {PLAIN}",
    "numactl": f"numactl --cpunodebind=0 --membind=0 {PLAIN}",
    "taskset": f"taskset -c 0-7 {PLAIN}",
    "stdbuf": f"stdbuf -oL {PLAIN}",
    "setsid": f"setsid -f {PLAIN}",
    "systemd-run": f"systemd-run --user --scope -p MemoryMax=32G {PLAIN}",
    "tmux": f"tmux new-session -d -s train {shlex.quote(PLAIN)}",
    "screen": f"screen -dmS train {PLAIN}",
    "script": f"script -q -c {shlex.quote(PLAIN)} log.txt",
    "nsys": f"nsys profile -o report --trace=cuda {PLAIN}",
    "py-spy": f"py-spy record -o profile.svg -- {PLAIN}",
    "debugpy": f"python -m debugpy --listen 5678 -m lerobot.scripts.lerobot_train {shlex.join(FLAGS)}",
    "cProfile": f"python -m cProfile -o out.prof -m lerobot.scripts.lerobot_train {shlex.join(FLAGS)}",
    "python -X": f"python -X importtime -u -W ignore -m lerobot.scripts.lerobot_train {shlex.join(FLAGS)}",
    "py": f"py -3.12 -m lerobot.scripts.lerobot_train {shlex.join(FLAGS)}",
    "old script": f"python lerobot/scripts/train.py {shlex.join(FLAGS)}",
    "old script in src": f"python src/lerobot/scripts/train.py {shlex.join(FLAGS)}",
    "old script from its folder": f"cd lerobot/scripts && python train.py {shlex.join(FLAGS)}",
    "old module": f"python -m lerobot.scripts.train {shlex.join(FLAGS)}",
    "direnv": f"direnv exec . {PLAIN}",
    "dotenv": f"dotenv -f .env run -- {PLAIN}",
    "nix": f"nix develop -c {PLAIN}",
    "nix-shell": f"nix-shell --run {shlex.quote(PLAIN)}",
    "xvfb": f"xvfb-run -a {PLAIN}",
    "exec": f"exec {PLAIN}",
    "eval": f'CMD="{PLAIN}"\neval $CMD',
    "old script on windows": f"python lerobot\\scripts\\train.py {shlex.join(FLAGS)}",
    "until": f"until {PLAIN}; do sleep 5; done",
    "markdown": f"```bash\n{LINES}\n```",
    "powershell's block": f'powershell -Command "& {{ {PLAIN} }}"',
    "dockerfile": f"CMD {json.dumps(['lerobot-train', *FLAGS])}",
    "list": json.dumps(["bash", "-c", PLAIN]),
    "python -c": f"python -c 'from lerobot.scripts.lerobot_train import main; main()' {shlex.join(FLAGS)}",
    "tmux send-keys": f"tmux send-keys -t train {shlex.quote(PLAIN)} Enter",
    "gcloud": f"gcloud compute ssh vm --zone=a --command={shlex.quote('cd x && ' + PLAIN)}",
    "docker container run": f"docker container run --rm --gpus '\"device=0\"' image {PLAIN}",
    "sbatch's here-document": f"sbatch <<EOF\n#!/bin/bash\n#SBATCH --gres=gpu:1\n{LINES}\nEOF",
    "and then": f"{PLAIN} && hf upload me/act outputs/train || echo failed; shutdown now",
    "dockerfile's shell": f"CMD {PLAIN}",
    "array that grows": f"A=({FLAGS[0]})\nA+=({' '.join(FLAGS[1:])})\n" + 'lerobot-train "${A[@]}" "$@"',
    "text that grows": f'A="{FLAGS[0]}"\nA+=" {" ".join(FLAGS[1:])}"\nlerobot-train $A',
    "powershell's variables": '$DATA = "me/so101"\n' + TICKS.replace("me/so101", "$DATA"),
    "notebook's variables": 'user = "me"\nrepo = f"{user}/so101"\n!' + LINES.replace("me/so101", "{repo}"),
    "sum": "N=2\n" + LINES.replace("=8", "=$((N * 4))"),
    "text in double quotes": 'B=8; bash -c "' + PLAIN.replace("=8", "=$B") + '"',
    "where python says": "accelerate launch $(python -c 'import lerobot.scripts.lerobot_train as t; …') "
                         + shlex.join(FLAGS),
    "actprof itself": f"actprof preflight --gpu 4090 -- {PLAIN}",
    "flags alone": shlex.join(FLAGS),
}  # fmt: skip


@pytest.mark.parametrize("form", SAME)
def test_a_form_means_what_the_plain_command_means(form):
    """As one text, as one word, and where no quotes of its own count, as the words of a shell."""
    text = SAME[form]
    assert tuple(FLAGS) == parse_command_line(text).arguments
    assert tuple(FLAGS) == parse_command_line([text]).arguments
    if not set(text) & set("'\"\n$#(){}\\`^"):
        assert tuple(FLAGS) == parse_command_line(text.split()).arguments


SETS = {
    "before": f"{CONF} {PLAIN}",
    "env": f"env {CONF} {PLAIN}",
    "export": f"export {CONF}; {PLAIN}",
    "export on its line": f"export {CONF}\n{LINES}",
    "export and": f"export {CONF} && {PLAIN}",
    "quoted": f"export PYTORCH_CUDA_ALLOC_CONF='expandable_segments:True'\n{PLAIN}",
    "then exported": f"{CONF}\nexport PYTORCH_CUDA_ALLOC_CONF\n{PLAIN}",
    "declare": f"declare -x {CONF}\n{PLAIN}",
    "powershell": f'$env:PYTORCH_CUDA_ALLOC_CONF = "expandable_segments:True"; {PLAIN}',
    "powershell without blanks": f"$env:PYTORCH_CUDA_ALLOC_CONF='expandable_segments:True'\n{TICKS}",
    "cmd": f"set {CONF} && {CARETS}",
    "cmd in quotes": f'set "{CONF}"\n{CARETS}',
    "fish": f"set -gx PYTORCH_CUDA_ALLOC_CONF expandable_segments:True; {PLAIN}",
    "csh": f"setenv PYTORCH_CUDA_ALLOC_CONF expandable_segments:True; {PLAIN}",
    "notebook": f"%env {CONF}\n!{PLAIN}",
    "notebook with a blank": f"%env PYTORCH_CUDA_ALLOC_CONF expandable_segments:True\n!{PLAIN}",
    "os.environ": f'import os\nos.environ["PYTORCH_CUDA_ALLOC_CONF"] = "expandable_segments:True"\n!{PLAIN}',
    "inside the notebook's line": f"!{CONF} {PLAIN}",
    "docker -e": f"docker run -e {CONF} --gpus all image {PLAIN}",
    "docker -eX": f"docker run -e{CONF} image {PLAIN}",
    "docker --env": f"docker run --gpus all --env {CONF} image {PLAIN}",
    "docker --env=": f"docker run --env={CONF} image {PLAIN}",
    "in docker's bash": f"docker run image bash -c {shlex.quote(f'export {CONF} && {PLAIN}')}",
    "docker env": f"docker run image env {CONF} {PLAIN}",
    "apptainer": f"apptainer exec --nv --env {CONF},A=1 image.sif {PLAIN}",
    "sudo": f"sudo {CONF} {PLAIN}",
    "sudo after -E": f"sudo -E {CONF} {PLAIN}",
    "srun": f"srun --export=ALL,{CONF} {PLAIN}",
    "hf jobs": f"hf jobs run --flavor t4-small -e {CONF} image {PLAIN}",
    "bash": f"{CONF} bash -c {shlex.quote(PLAIN)}",
    "inside bash": f"bash -c {shlex.quote(f'{CONF} {PLAIN}')}",
    "ssh": f"ssh gpu01 {shlex.quote(f'{CONF} {PLAIN}')}",
    "conda run": f"conda run -n lerobot env {CONF} {PLAIN}",
}


@pytest.mark.parametrize("form", SETS)
def test_a_variable_that_is_set_anywhere_counts(form):
    """Beside the command, in the shell's lines before it, or handed to a container."""
    line = parse_command_line(SETS[form])
    seen = line.seen_environment({"PYTORCH_CUDA_ALLOC_CONF": "around"})
    assert (tuple(FLAGS), SET) == (line.arguments, {name: seen[name] for name in SET})


@pytest.mark.parametrize(
    "start",
    ["set -a; source {}; set +a; ", "export $(cat {} | xargs)\n", "export $(grep -v '^#' {} | xargs) && "],
)
def test_a_file_of_variables_is_read(tmp_path, start):
    """Where it is here and its variables are exported."""
    path = tmp_path / ".env"
    path.write_text(f"# for training\n{CONF}\nHF_USER=me\n")
    line = parse_command_line(start.format(path) + PLAIN.replace("me/so101", "$HF_USER/so101"))
    assert (tuple(FLAGS), SET) == (line.arguments, {name: line.environment[name] for name in SET})


def test_what_a_command_would_print_is_left_open():
    """`$(hf auth whoami)` is a shell's, not a mistake: a name stands for it; in single quotes it stays."""
    asked = "HF_USER=$(hf auth whoami | head -n 1)\n" + LINES.replace("me/so101", "${HF_USER}/so101")
    line = parse_command_line(asked)
    assert "--dataset.repo_id=your-name/so101" in line.arguments
    assert (
        "$(hf auth whoami | head -n 1) is not run here: your-name stands for what it prints",
    ) == line.notes
    kept = parse_command_line(["lerobot-train", "--dataset.repo_id=$(whoami)/x"])
    assert ("--dataset.repo_id=$(whoami)/x",) == kept.arguments


def test_a_variable_of_this_process_stands_for_what_a_command_would_print(monkeypatch):
    """Where both have its name."""
    monkeypatch.setenv("HF_USER", "somebody")
    line = parse_command_line("HF_USER=$(hf auth whoami)\nlerobot-train --dataset.repo_id=$HF_USER/x")
    assert (("--dataset.repo_id=somebody/x",), ()) == (line.arguments, line.notes)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (f"{CONF}; {PLAIN}", False),
        (f"{CONF} && {PLAIN}", False),
        (f"{CONF} docker run image {PLAIN}", False),
        (f"{CONF} docker run -e PYTORCH_CUDA_ALLOC_CONF image {PLAIN}", True),
        (f"{CONF} sudo {PLAIN}", False),
        (f"{CONF} sudo --preserve-env=PYTORCH_CUDA_ALLOC_CONF {PLAIN}", True),
        (f"{CONF} sudo -E {PLAIN}", True),
        (f"{CONF} ssh gpu01 {PLAIN}", False),
        (f"{CONF} singularity exec image {PLAIN}", True),
        (f"{CONF} singularity exec --cleanenv image {PLAIN}", False),
        (f"{CONF} env -i {PLAIN}", False),
        (f"export {CONF}; unset PYTORCH_CUDA_ALLOC_CONF; {PLAIN}", False),
        (f"export {CONF}; nohup {PLAIN} &", True),
    ],
)
def test_a_variable_that_does_not_arrive_does_not_count(text, seen):
    """It is not exported, or a container, sudo or another machine leaves it behind."""
    assert seen == ("PYTORCH_CUDA_ALLOC_CONF" in parse_command_line(text).seen_environment({}))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"lerobot-train \N{EN DASH}-policy.type=act {' '.join(FLAGS[1:])}", "typographic dash"),
        (
            PLAIN.replace("--batch", "\N{EN DASH}batch"),
            "\N{EN DASH}batch_size begins with a typographic dash",
        ),
        (
            PLAIN.replace("--batch", "\N{EM DASH}batch"),
            "\N{EM DASH}batch_size begins with a typographic dash",
        ),
        (PLAIN.replace("=act", "=\u201cact\u201d"), "typographic quotes"),
        (PLAIN.replace("=act", "=\u2018act\u2019"), "typographic quotes"),
        (PLAIN.replace(" --steps", "\u00a0--steps"), "no-break"),
        (LINES.replace("\\\n", "\\  \n"), "a backslash with a blank behind it"),
        (LINES.replace(" \\\n  --steps", " \\\n  # --wandb.enable=true \\\n  --steps"), "a line of comment"),
        (LINES.replace(" \\\n  --steps", " \\  # all\n  --steps"), "a backslash with a blank behind it"),
        (f"bash -c {PLAIN}", "put the command in quotes"),
        ("lerobot-train\n" + "\n".join(f"  {flag}" for flag in FLAGS), "needs a backslash at its end"),
    ],
)
def test_what_a_web_page_spoilt_is_read_and_said(text, said):
    """A shell would not take it so."""
    line = parse_command_line(text)
    assert tuple(FLAGS) == line.arguments
    assert said in " ".join(line.mended)


def test_words_that_a_web_page_spoilt_are_read_alike():
    """Where a shell has split them already."""
    line = parse_command_line(["lerobot-train", "\N{EN DASH}policy.type=\u201cact\u201d", *FLAGS[1:], " "])
    assert (tuple(FLAGS), 3) == (line.arguments, len(line.mended))
