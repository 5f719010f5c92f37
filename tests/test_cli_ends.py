"""How a command ends: one sentence, an exit code that a script can use, and a way on after Ctrl-C."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer

from probes import cli


def end_of(words: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["whenlens", *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (None, 0, ""),
        (ValueError("--dose is above 0,\n not -1; give another."), 2, "--dose is above 0, not -1; give another.\n"),
        (FileNotFoundError("There is no folder nowhere; name one that is there."), 2, "There is no folder nowhere"),
        (RuntimeError("out of memory"), 1, "RuntimeError: out of memory. (Set WHENLENS_TRACEBACK=1"),
        (KeyboardInterrupt(), 130, "go on with: whenlens store describe 'a folder'"),
    ],
)
def test_every_end_has_its_code_and_one_sentence(
    error: BaseException | None, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def fail(path: Path, as_json: bool) -> None:
        if error is not None:
            raise error

    monkeypatch.setattr("probes.commands.activations._describe", fail)
    monkeypatch.setattr(cli, "RESUMES", (*cli.RESUMES, "store"))
    assert end_of(["store", "describe", "a folder"], monkeypatch) == code
    written = capsys.readouterr()
    assert written.out == ""
    assert said in written.err
    assert "Traceback" not in written.err
    assert written.err.count("\n") == (error is not None)


def test_a_command_that_keeps_nothing_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    def interrupted(path: Path, as_json: bool) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("probes.commands.activations._describe", interrupted)
    assert end_of(["store", "describe", "acts"], monkeypatch) == 130
    assert "begin anew with: whenlens store describe acts" in capsys.readouterr().err


def test_the_trace_is_there_for_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, as_json: bool) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr("probes.commands.activations._describe", fail)
    monkeypatch.setattr(sys, "argv", ["whenlens", "store", "describe", "acts"])
    monkeypatch.setenv(cli.TRACE, "1")
    with pytest.raises(RuntimeError, match="out of memory"):
        cli.main()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["studi"], "No such command 'studi'"),
        (["score", "organism:latent"], "Missing argument"),
        (["store", "describe", "nowhere"], "nowhere"),
        (["store", "verify", "nowhere"], "nowhere"),
        (["hybrid", "nowhere.json"], "nowhere.json"),
        (["passk", "nowhere.parquet", "alsonowhere.parquet"], "nowhere.parquet"),
        (["claims", "nowhere"], "whenlens study"),
        (["weights", "nowhere", "alsonowhere"], "nowhere"),
        (["score", "organism:latnt", "texts.parquet", "--out", "t.parquet"], "organism"),
        (["capture", "organism:latent", "nowhere.parquet", "--store", "acts"], "nowhere.parquet"),
        (["steer", "organism:latent", "--label", "computation", "--alpha", "a:b", "--out", "o"], "--alpha is"),
    ],
)
def test_a_mistake_is_a_usage_error_that_names_the_item(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert end_of(words, monkeypatch) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert said in " ".join(written.err.split())
    assert "Traceback" not in written.err


def test_help_names_the_exit_codes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert end_of(["--help"], monkeypatch) == 0
    assert "Exit codes: 0 done; 1 it failed on the way" in " ".join(capsys.readouterr().out.split())


def test_ctrl_c_leaves_a_study_that_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "study"
    words = ["study", "organism:latent", "--n-problems", "8", "--samples", "2", "--out", str(out), "--json"]
    # A shell that starts the tests in the background has SIGINT ignored, and children inherit that.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from probes.cli import main; sys.argv[1:] = sys.argv[2:]; main()"
    )
    started = subprocess.Popen(
        [sys.executable, "-c", code, "-", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        # The study has begun, nothing is finished.
        until = time.monotonic() + 120
        while not (out / "study.json").exists() and time.monotonic() < until and started.poll() is None:
            time.sleep(0.05)
        started.send_signal(signal.SIGINT)
        told, said = started.communicate(timeout=60)
    finally:
        started.kill()
    assert started.returncode == 130, said
    assert told == ""
    assert f"go on with: whenlens study organism:latent --n-problems 8 --samples 2 --out {out} --json" in said
    assert "Traceback" not in said
    assert json.loads((out / "study.json").read_text())["base"] == "organism:latent:base"
    assert not (out / "report.html").exists()


def test_every_command_can_speak_json() -> None:
    from typer.main import get_command

    def leaves(command: object, words: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], object]]:
        inner = getattr(command, "commands", None)
        if inner is None:
            return [(words, command)]
        return [leaf for name, one in inner.items() for leaf in leaves(one, (*words, name))]

    found = dict(leaves(get_command(cli.app)))
    assert {words[0] for words in found} >= {
        "study", "capture", "score", "sweep", "steer", "route", "weights", "claims", "passk", "organisms", "report",
        "store", "doctor",
    }  # fmt: skip
    for words, command in found.items():
        options = {option for parameter in command.params for option in parameter.opts}  # type: ignore[attr-defined]
        assert "--json" in options, words
        assert f"Example: whenlens {' '.join(words)}" in str(command.epilog), words  # type: ignore[attr-defined]


def test_stop_says_two() -> None:
    from probes.commands.terminal import stop

    with pytest.raises(typer.Exit) as end:
        stop("Give another.")
    assert end.value.exit_code == 2
