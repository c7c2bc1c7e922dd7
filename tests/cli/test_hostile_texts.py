"""No text of a file, a name or an error commands the terminal, whichever printer it comes to."""

from __future__ import annotations

import io
import json
import random
import re
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from pathlib import Path

import loader_made
import pytest
from handmade import build_trace

from actprof import api
from actprof.advice.remedies import offers
from actprof.advice.suggest import Remedy
from actprof.claims.judge import Outcome
from actprof.cli import echo
from actprof.cli.commands import accuracy, check, compare, loader, preflight, replay, run
from actprof.cli.commands import params as params_command
from actprof.cli.commands import policies as policies_command
from actprof.cli.console import PrintableConsole, Waiting, print_json, progress_listener
from actprof.cli.progress_bar import counting_columns
from actprof.cli.show_cards import cards_markdown, print_cards
from actprof.cli.show_explanation import print_explanation
from actprof.cli.show_remedies import print_suggestions, suggestions_markdown
from actprof.cli.show_result import print_result, print_verdict, result_markdown
from actprof.cli.show_sweep import print_sweep, sweep_markdown
from actprof.explanation.explain import explain_cell
from actprof.ledger.comparison import Figures
from actprof.ledger.keep import refresh, write_rows
from actprof.ledger.row import AccuracyRow
from actprof.policies.facts import Parameter
from actprof.prediction.predict import predict_cell
from actprof.preflight_check.flag_table import flag_table
from actprof.preflight_check.trap import Trap
from actprof.printable import printable
from actprof.progress import Progress
from actprof.results import MEASURED
from actprof.running.compare import compare_runs
from actprof.running.plan import Plan
from actprof.sweeps.table import results_frame
from actprof.units import GIB

DATA = Path(__file__).resolve().parents[1] / "data"
STRINGS = 2000
# What is looked up by its name, or indexes a table of ours: no file can make it another.
LOOKED_UP = {
    "policy", "resolution", "optimizer", "precision", "changes", "overrides", "peft", "verdict", "source",
    "kind", "phase", "phases", "gpu", "limited_by", "alloc_conf", "cost", "family", "status", "origin",
    "type", "storage", "backend", "by_kind", "activations", "stages", "cache", "strategy",
}  # fmt: skip
SGR = re.compile(r"\x1b\[[0-9;]*m")
OF_RICH = re.compile(r"\x1b\[(?:[0-9;]*m|\?25[lh]|[0-9]*[AK])|\r")  # styles; a bar's cursor
PARTS = (
    "\x1b[31m", "\x1b[2J", "\x1b]0;title\x07", "\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\",
    "\x1b]52;c;aGk=\x07", "\x1bP+q\x1b\\", "\x9b31m", "\x90x\x9c", "\x07", "\b" * 5, "\r", "\x00", "\x7f",
    "\u202e", "\u2066x\u2069", "\u200b", "\u200f", "\ufeff", "\u2028", "\ud800", "\udcff", "\u061c",
    "\U000e0041", "a" + "\u0301" * 300, "\N{PARTY POPPER}", "\N{CJK UNIFIED IDEOGRAPH-4E2D}", "word",
    "\n", "\t",
    "[red]", "[/]", "[/red]", "[bold", "[link=http://evil]x[/link]", "[@click=a]", "\\", "\\[red]",
    "[\u200bred]",
    "[\x1bred]x", ":warning:", "{x}", "%s", "|",
)  # fmt: skip
CAMERA = {"dtype": "video", "shape": [480, 640, 3], "names": ["height", "width", "channels"]}
JOINTS = {"dtype": "float32", "shape": [6], "names": None}
FEATURES = {
    "observation.images.a": CAMERA,
    "observation.images.b": CAMERA,
    "observation.state": JOINTS,
    "action": JOINTS,
}
COMMAND = (
    "lerobot-train", "--policy.type=act", "--policy.push_to_hub=false", "--dataset.repo_id=me/x",
    "--policy.chunk_size=7", "--policy.n_action_steps=7",
)  # fmt: skip
WEIGHT = Parameter(path="a.weight", component="encoder", count=1, bytes=4, trainable=True)


class Hostile:
    """Makes hostile strings, and counts them."""

    def __init__(self) -> None:
        self._chance = random.Random(14)  # noqa: S311 - no secret
        self.made = 0

    def text(self) -> str:
        """Return a string of a few parts; markup in it stands before a mark, by which it is found again."""
        self.made += 1
        parts = self._chance.choices(PARTS, k=self._chance.randint(1, 6))
        return "".join(parts) + f"[magenta]MARK{self.made}"

    def put_into(self, value, name=""):  # noqa: PLR0911 - a return for each kind of value
        """Return a record like `value` with hostile texts wherever a file could have put them."""
        if name in LOOKED_UP or isinstance(value, Enum):
            return value
        if isinstance(value, str):
            return self.text()
        if isinstance(value, Path):
            return Path(self.text().replace("\x00", "").replace("/", ""))
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return value._replace(**{n: self.put_into(getattr(value, n), n) for n in value._fields})
        if isinstance(value, tuple | list):
            return type(value)(self.put_into(one, name) for one in value)
        if isinstance(value, Mapping):
            return {key: self.put_into(one, name) for key, one in value.items()}
        if is_dataclass(value):
            names = [f.name for f in fields(value) if f.init]
            return replace(value, **{n: self.put_into(getattr(value, n), n) for n in names})
        return value


@pytest.fixture
def hostile():
    return Hostile()


@pytest.fixture
def records(seed, tmp_path, monkeypatch):
    """One record for each printer, as the commands make them."""
    fits, above = seed(batch_size=8), seed(batch_size=4000, capacity_bytes=2 * GIB)
    result, oom = predict_cell(fits), predict_cell(above)
    remedies = tuple(
        Remedy(**{f.name: getattr(offer, f.name) for f in fields(offer)}, before=oom, after=result)
        for offer in offers(above)[:4]
    )
    unknown = replace(result, verdict="unknown", reason="why")
    outcome = Outcome(
        entry=0, claim="c", source="s", quantity="q", scope="x", expected="1", actual="2", held=False,
        instead="i", cells=(fits,),
    )  # fmt: skip
    rows = refresh([AccuracyRow(cell=fits, origin="published", gpu="RTX 3090", source="a log")])
    measured = Figures(allocated_bytes=GIB, verdict="ran")
    write_rows(tmp_path / "ledger", [replace(row, measured=measured) for row in rows])
    flag_table("act")
    for batch_size in (1, 2):
        seed(overrides={"chunk_size": 7, "n_action_steps": 7}, batch_size=batch_size)
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "info.json").write_text(json.dumps({"features": FEATURES}))
    return {
        "results": (result, oom, unknown),
        "moments": (explain_cell(fits), explain_cell(above)),
        "remedies": remedies,
        "outcomes": (outcome, replace(outcome, held=None), replace(outcome, held=True)),
        "replay": api.replay_snapshot(DATA / "native-retry.pickle", compare=("",)),
        "verified": api.verify_snapshot(DATA / "native-retry.pickle"),
        "loading": loader_made.make_result(),
        "accuracy": api.accuracy(tmp_path / "ledger"),
        "params": replace(build_trace().policy, parameters=(WEIGHT,)),
        "preflight": api.preflight([*COMMAND, f"--dataset.root={tmp_path}"], gpu="RTX 3090"),
        "policies": api.known_policies()[:2],
    }


def printers(hostile, records):
    """Return what prints hostile texts, by name; each takes a console."""
    put = hostile.put_into
    result, oom, unknown = (put(one) for one in records["results"])
    frame = results_frame((result, oom, unknown))
    first, second = (replace(put(one), source=MEASURED) for one in records["results"][:2])
    answer = put(records["preflight"])
    stopped = replace(answer, traps=(Trap("a", hostile.text(), stops=True), Trap("b", hostile.text())))
    ended = [
        {"problem": hostile.text()},
        {"said": hostile.text()},
        {"answer": answer, "said": hostile.text()},
    ]
    plans = [Plan(words=(), **fields) for fields in ended]
    step = {"step_seconds": 0.5, "step_batch_size": None}
    remedies = put(records["remedies"])
    yield from (
        ("result", lambda to: [print_result(one, to) for one in (result, oom, unknown)]),
        ("verdict", lambda to: print_verdict(oom, to, place=hostile.text())),
        ("explanation", lambda to: [print_explanation(x, to, full=True) for x in put(records["moments"])]),
        ("suggestions", lambda to: print_suggestions(oom, remedies, to)),
        ("preflight", lambda to: [preflight.print_preflight(one, to) for one in (answer, stopped)]),
        ("sweep", lambda to: print_sweep(frame, to)),
        ("check", lambda to: check.print_outcomes(put(records["outcomes"]), to)),
        ("replay", lambda to: replay.print_replay(put(records["replay"]), to)),
        ("verification", lambda to: replay.print_verification(put(records["verified"]), to)),
        ("loader", lambda to: loader._print_loading(put(records["loading"]), step, to)),
        ("accuracy", lambda to: accuracy.print_accuracy(put(records["accuracy"]), to, all_rows=True)),
        ("compare", lambda to: compare.print_comparison(compare_runs(first, second), to)),
        ("cards", lambda to: print_cards((result, oom, unknown), to)),
        ("run", lambda to: [run._print_plan(plan, to) for plan in plans]),
        ("policies", lambda to: [policies_command._show_one(one, to) for one in put(records["policies"])]),
        ("params", lambda to: to.print(params_command._every(put(records["params"])))),
        ("errors", lambda _to: echo(f"actprof: {hostile.text()}", err=True)),
        ("markdown", lambda _to: [
            echo(result_markdown(oom)), echo(sweep_markdown(frame)), echo(cards_markdown((result, oom))),
            echo(suggestions_markdown(oom, remedies)),
            echo(check.outcomes_markdown(put(records["outcomes"]))),
        ]),
        ("json", lambda _to: print_json(oom.to_json())),
    )  # fmt: skip


def shown(show, capsys, **options):
    """Return what a printer leaves on the terminal or in the pipe, and on stderr."""
    stream = io.StringIO()
    show(PrintableConsole(file=stream, **options))
    captured = capsys.readouterr()
    return stream.getvalue() + captured.out + captured.err


@pytest.mark.slow
def test_no_printer_hands_on_what_commands_a_terminal(hostile, records, capsys):
    """2,000 hostile strings through every printer, to a pipe and to a terminal."""
    while hostile.made < STRINGS:
        for name, show in printers(hostile, records):
            for options in ({"width": 120}, {"width": 80, "force_terminal": True}, {"width": 10**6}):
                text = shown(show, capsys, **options)
                left = SGR.sub("", text) if "force_terminal" in options else text
                assert left == printable(left).replace("\r", ""), (name, options)
                assert options.get("force_terminal") or "\x1b" not in text, name
                if options["width"] > 120:  # where no line is folded, marks stay before what follows them
                    unmarked = re.findall(r".{0,40}(?<!\[magenta\])MARK\d+", left.replace("\\", ""))
                    assert [] == unmarked, name


def test_no_bar_hands_it_on(hostile, monkeypatch):
    """The descriptions of bars and of what takes long."""
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    waiting = Waiting()
    with progress_listener(*counting_columns(), start=hostile.text()) as listener:
        for done in range(100):
            listener(Progress(total=100, done=done, running=(hostile.text(), hostile.text())))
    for _ in range(100):
        waiting(Progress(running=(hostile.text(),)))
    waiting(Progress())

    left = OF_RICH.sub("", terminal.getvalue())
    assert "MARK" in left
    assert left == printable(left)


@pytest.mark.parametrize("number", range(20))
def test_no_command_hands_on_its_own_words(run, tmp_path, hostile, number):
    """Names of files, options and values of whoever types, or of who made the script."""
    evil = hostile.text().replace("\x00", "")
    commands = (
        [evil], ["predict", "--set", evil], ["predict", "--gpu", evil], ["predict", f"--{evil}"],
        ["sweep", evil], ["check", evil], ["replay", evil], ["compare", evil, evil], ["report", evil],
        ["gpus", evil], ["policies", evil], ["preflight", "--", "lerobot-train", f"--policy.type={evil}"],
    )  # fmt: skip
    words = commands[number % len(commands)]
    done = run(*words)

    assert 0 != done.code
    for text in (done.out, done.err):
        assert text == printable(text)


def test_a_scenario_and_own_cards_are_printed_as_text(run, tmp_path, monkeypatch, seed):
    """Texts of YAML and TOML, which know escapes."""
    seed()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACTPROF_CONFIG_DIR", str(tmp_path))
    evil = "\\u001b]0;x\\u0007[red]\\u202e"
    (tmp_path / "gpus.toml").write_text(f'[[gpu]]\nname = "My {evil} card"\ncapacity = "24GiB"\n')
    (tmp_path / "evil.yaml").write_text(
        f'question: "{evil}"\nset: {{chunk_size: 7}}\nbatch_size: 8\n'
        f'expect:\n  - claim: "{evil}"\n    source: "{evil}"\n    verdict: fits\n'
    )
    for words in (["gpus"], ["check", "evil.yaml"], ["sweep", "evil.yaml", "--no-cpu-check", "--jobs", 1]):
        done = run(*words)
        assert 0 == done.code, done.err
        assert done.out + done.err == printable(done.out + done.err)
        assert "[red]" in done.out or "sweep" in words
