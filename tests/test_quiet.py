"""What libraries print while they are imported stays away from the user, unless they ask for it."""

import logging
import sys
import warnings

import pytest

from actprof.quiet import VERBOSE_VARIABLE, is_verbose, quiet_imports


def make_noise():
    sys.stdout.write("printed\n")
    sys.stderr.write("printed as an error\n")
    logging.getLogger("somebody").warning("logged")
    warnings.warn("warned", UserWarning, stacklevel=1)


def test_prints_warnings_and_log_records_are_swallowed(monkeypatch, capsys, caplog):
    """Nothing comes through; afterwards everything does again."""
    monkeypatch.delenv(VERBOSE_VARIABLE, raising=False)
    with quiet_imports():
        make_noise()
    assert ("", "") == tuple(capsys.readouterr())
    assert "" == caplog.text
    with pytest.warns(UserWarning, match="warned"):
        make_noise()
    assert "printed\n" == capsys.readouterr().out
    assert "logged" in caplog.text


def test_errors_are_still_logged(monkeypatch, caplog):
    """Only what is less than an error is noise."""
    monkeypatch.delenv(VERBOSE_VARIABLE, raising=False)
    with quiet_imports():
        logging.getLogger("somebody").error("broken")
    assert "broken" in caplog.text


def test_everything_is_as_it_was_after_an_exception(monkeypatch, capsys):
    """A failing import does not silence the program."""
    monkeypatch.delenv(VERBOSE_VARIABLE, raising=False)
    before = logging.root.manager.disable
    with pytest.raises(ImportError), quiet_imports():
        raise ImportError("gone")
    sys.stdout.write("heard\n")
    assert before == logging.root.manager.disable
    assert "heard\n" == capsys.readouterr().out


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("yes", True), ("0", False), ("", False)])
def test_who_asks_for_it_sees_everything(monkeypatch, capsys, value, expected):
    """`ACTPROF_VERBOSE` is on unless it is empty or 0."""
    monkeypatch.setenv(VERBOSE_VARIABLE, value)
    assert expected == is_verbose()
    with quiet_imports():
        sys.stdout.write("printed\n")
    assert expected == ("printed" in capsys.readouterr().out)
