"""Programs that start another one: what each hands on, as far as that decides what lerobot-train sees."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from actprof.training_command.command_line import CommandLine, expanded
from actprof.units import GIB, KIB, MIB

# What only starts what follows, with options of its own in between.
_PLAIN = """
    actprof aprun bsub caffeinate catchsegv chrt chroot cmd command compute-sanitizer conda coverage cProfile
    debugpy devbox direnv distrobox doas dotenv env envchain exec firejail flatpak-spawn flock gdb hatch
    ionice ipython jsrun kernprof line_profiler mamba memray micromamba mise mpiexec mpirun ncu nice nix
    nix-shell nohup nsys nsys-ui numactl optirun parallel pdb pdm perf pipenv pipx pixi poetry powershell
    prime-run profile proxychains4 pwsh py-spy qsub ray runuser rye salloc sbatch scalene screen script setsid
    srun start stdbuf strace su sudo systemd-inhibit systemd-run taskset tee time timeout tmux toolbox
    trace tsp ts unbuffer uv uvx valgrind viztracer watch xargs xvfb-run
"""
# They start it in another file system or on another machine, where no variable of this one arrives unasked.
_CONTAINERS = """
    apptainer buildah ch-run docker docker-compose enroot incus kubectl lxc nerdctl nvidia-docker oc podman
    shifter singularity udocker
"""
_MACHINES = "az aws beaker dstack gcloud hf huggingface-cli kubectl modal oc runai sky ssh vastai"
# Their containers have a /dev/shm of their own, of 64 MiB where the command does not say --shm-size.
_WITH_LITTLE_SHM = {"docker", "nvidia-docker", "podman", "nerdctl"}
_DOCKER_SHM = 64 * MIB
_DOCKER_UNITS = {"": 1, "b": 1, "k": KIB, "m": MIB, "g": GIB, "t": 1024 * GIB}
_KEEP_ENVIRONMENT = {"apptainer", "singularity", "enroot", "shifter", "ch-run"}
WRAPPERS = frozenset({*_PLAIN.split(), *_CONTAINERS.split(), *_MACHINES.split(), "wsl"})

_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_LISTED = re.compile(r",(?=[A-Za-z_]\w*(?:=|,|$))")
_FOLDERS = ("--workdir", "--pwd", "--chdir", "--directory", "--cwd")
_FOLDER_OPTION = {"env": "-C", "srun": "-D", "sbatch": "-D", "sudo": "-D"}
_MOUNT = re.compile(r"(?:source|src)=([^,]+).*?(?:target|destination|dst)=([^,]+)")


@dataclass(frozen=True, slots=True)
class Wrapper:
    """One such program as it stands in a command: its name, and its own words up to what it starts."""

    name: str
    words: Sequence[str]

    def around(self, inner: CommandLine) -> CommandLine:
        """Return what `inner` is when this program starts it."""
        line = self._with_environment(inner)
        if self.name in _MACHINES.split() and self.name not in ("hf", "huggingface-cli"):
            line = replace(line, elsewhere=line.elsewhere or self.name)
        if self.name in ("hf", "huggingface-cli"):
            flavour = next(self._values("--flavor"), "cpu-basic")
            line = replace(line, flavour=line.flavour or flavour)
        if self.name in _CONTAINERS.split():
            line = replace(line, mounts=(*line.mounts, *self._mounts()))
        if self.name in _WITH_LITTLE_SHM and {"run", "create"} & set(self.words):
            line = replace(line, shm_bytes=self._shm_bytes())
        short = "-w" if self.name in _CONTAINERS.split() else _FOLDER_OPTION.get(self.name, "")
        folder = next(self._values(*_FOLDERS, short), "")
        return replace(line, folder=str(PurePosixPath(folder) / line.folder)) if folder else line

    def _with_environment(self, inner: CommandLine) -> CommandLine:
        given, passed = self._environment()
        line = inner.under(given)
        return replace(line, isolated=True, passed=(*line.passed, *passed)) if self._isolates() else line

    def _isolates(self) -> bool:
        words = [word.partition("=")[0] for word in self.words]
        if self.name in ("sudo", "doas"):
            return not {"-E", "--preserve-env"} & set(words) and not any(
                re.fullmatch(r"-[A-Za-z]*E[A-Za-z]*", word) for word in words
            )
        if self.name in _KEEP_ENVIRONMENT:
            return bool({"-e", "--cleanenv", "-c", "--contain", "-C", "--containall"} & set(words))
        if self.name == "env":
            return bool({"-i", "--ignore-environment", "-"} & set(words))
        return self.name in {*_CONTAINERS.split(), *_MACHINES.split(), "wsl"}

    def _environment(self) -> tuple[dict[str, str], list[str]]:
        """Return the variables that it sets, and the names of those that it hands on."""
        texts = []
        if self.name in {*_CONTAINERS.split(), *_MACHINES.split()}:
            texts = [*self._values("-e", "--env"), *self._visible()]
        texts += self._of_files()
        texts += [part for text in self._values("--export") for part in _LISTED.split(text)]
        if self.name == "sudo":
            texts += [part for text in self._values("--preserve-env") for part in text.split(",")]
        given, passed = {}, []
        for part in (part for text in texts for part in _LISTED.split(text)):
            if match := _ASSIGNMENT.fullmatch(part):
                given[match[1]] = match[2]
            elif part.isidentifier():
                passed.append(part)
        return given, passed

    def _of_files(self) -> Iterator[str]:
        for name in self._values("--env-file"):
            path = expanded(name)
            if path.is_file():
                lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
                yield from (line.strip() for line in lines if _ASSIGNMENT.fullmatch(line.strip()))

    def _visible(self) -> Iterator[str]:
        """Yield the GPUs of `--gpus device=1`, as CUDA is told."""
        for value in self._values("--gpus"):
            if match := re.fullmatch(r"[\"']*device=([\w,-]+)[\"']*", value):
                yield f"CUDA_VISIBLE_DEVICES={match[1]}"

    def _mounts(self) -> Iterator[tuple[str, str]]:
        """Yield (folder here, folder inside)."""
        for value in self._values("-v", "--volume", "-B", "--bind"):
            for part in value.split(",") if self.name in _KEEP_ENVIRONMENT else [value]:
                match = re.fullmatch(r"((?:[A-Za-z]:[\\/])?[^:]+)(?::([^:]+))?(?::[\w,]+)?", part)
                if match:
                    yield match[1], match[2] or match[1]
        for value in self._values("--mount"):
            if match := _MOUNT.search(value):
                yield match[1], match[2]

    def _shm_bytes(self) -> int | None:
        """Return the size of the container's /dev/shm; None where that is this machine's."""
        inside = {place for _, place in self._mounts()} | {
            f"--ipc={value}" for value in self._values("--ipc")
        }
        if inside & {"/dev/shm", "--ipc=host"}:  # noqa: S108 - a place inside
            return None
        size = re.fullmatch(r"(\d+(?:\.\d+)?) ?([bkmgt]?)i?b?", next(self._values("--shm-size"), "").lower())
        return (int(float(size[1]) * _DOCKER_UNITS[size[2]]) if size else 0) or _DOCKER_SHM

    def _values(self, *names: str) -> Iterator[str]:
        """Yield the values of options: `--name=value`, `--name value`, `-nvalue`."""
        for word, following in zip(self.words, [*self.words[1:], ""], strict=False):
            name, equals, value = word.partition("=")
            if name in names and equals:
                yield value
            elif word in names and following and not following.startswith("-"):
                yield following
            elif word[:2] in names and len(word) > 2 and word[1] != "-":
                yield word[2:]
