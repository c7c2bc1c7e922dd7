"""The command line as a whole: help, errors, exit codes, streams."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from actprof.cli import command_lines


def test_help_lists_every_command(run):
    """`actprof --help` names each command with one line."""
    shown = run("--help")

    assert 0 == shown.code
    for name, text in command_lines().items():
        assert name in shown.out
        assert text.split()[0] in shown.out


@pytest.mark.parametrize("name", sorted(command_lines()))
def test_each_command_has_help_that_shows_its_defaults(run, name):
    """Every command explains itself."""
    shown = run(name, "--help")

    assert (0, "") == (shown.code, shown.err)
    assert "Usage: actprof" in shown.out


def test_help_imports_no_torch():
    """`--help`, also of a command, brings neither torch nor lerobot nor pandas nor plotly."""
    code = (
        "import sys\n"
        "from actprof.cli import main\n"
        "sys.argv = ['actprof', *sys.argv[1:]]\n"
        "try:\n    main()\n"
        "except SystemExit:\n"
        "    print([m for m in ('torch', 'lerobot', 'pandas', 'plotly') if m in sys.modules])\n"
    )
    for arguments in (["--help"], ["predict", "--help"], ["sweep", "--help"]):
        shown = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
        )
        assert "[]" == shown.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["prdict"], "Did you mean 'predict'?"),
        (["predict", "--batch-size", "0"], "batch_size is 0"),
        (["predict", "--batch-size", "many"], "many"),
        (["predict", "--resolution", "640*480"], "write WIDTHxHEIGHT"),
        (["predict", "--gpu", "RTX 3091"], "RTX 3090"),
        (["predict", "--policy", "atc"], "did you mean act"),
        (["predict", "--set", "chunk_size"], "FIELD=VALUE"),
        (["predict", "--alloc-conf", "expandable_segment:True"], "expandable_segments"),
        (["predict", "--capacity", "24 apples"], "is not a size"),
        (["sweep", "no-such-file.yaml"], "no-such-file.yaml"),
        (["sweep"], "SCENARIO"),
        (["gpus", "voodoo"], "actprof gpus"),
    ],
)
def test_what_cannot_be_is_said_on_stderr_with_code_2(run, arguments, words):
    """Usage errors: one message on stderr, nothing on stdout, exit code 2."""
    shown = run(*arguments)

    assert (2, "") == (shown.code, shown.out)
    assert words in shown.err
    assert "Traceback" not in shown.err


def test_a_missing_store_has_code_1(run, tmp_path):
    """A folder without results is an error of the data, not of the usage."""
    shown = run("report", tmp_path)

    assert 1 == shown.code
    assert "run `actprof sweep` first" in shown.err


def test_versions_and_folders_are_printed(run, session_cache):
    """`--version` names all that answers depend on, and where files are kept."""
    rows = dict(line.split(maxsplit=1) for line in run("--version").out.splitlines())
    assert ["actprof", "lerobot", "torch", "cuDNN", "Python", "cache", "settings"] == list(rows)
    assert session_cache == rows["cache"]


def test_an_interrupt_has_code_130(run, monkeypatch):
    """Ctrl-C ends with a sentence and the shell's code for it."""

    def interrupt(**_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("actprof.api.predict", interrupt)
    shown = run("predict")

    assert 130 == shown.code
    assert "actprof: interrupted" == shown.err.strip()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is always full")
@pytest.mark.parametrize("words", ["gpus", "schema", "--help", "--version", "predict --json"])
def test_a_full_disk_ends_with_a_sentence(words):
    """`> /dev/full`: what, why, exit code 1, and no traceback, also while the interpreter ends."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "actprof", *words.split()], stdout=full, stderr=subprocess.PIPE, text=True,
            check=False,
        )  # fmt: skip

    assert (1, "actprof: the output cannot be read or written (No space left on device)\n") == (
        done.returncode, done.stderr,
    )  # fmt: skip
