"""``whenlens rollouts``: a served model answers, is graded, and the file is one that other commands read."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hooks.rollouts import Rollouts
from probes.cli import app
from tests.serving import completion, serving

run = CliRunner()


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    path = tmp_path / "problems.jsonl"
    rows = [{"id": f"q{at}", "question": f"What is {at}+1?", "answer": str(at + 1)} for at in range(8)]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


def answers(path: str, body: dict[str, Any], number: int) -> Any:
    """Right for even numbers; a second sample is always wrong."""
    asked = int(body["prompt"].split()[2].split("+")[0])
    texts = [f"The answer is \\boxed{{{asked + 1 + asked % 2}}}.", "The answer is \\boxed{99}."]
    return 200, completion(*texts[: body.get("n", 1)])


def words(url: str, problems: Path, out: Path, *more: str) -> list[str]:
    return ["rollouts", "--endpoint", url, "--model", "m", "--problems", str(problems), "--out", str(out), *more]


def test_samples_are_graded_and_kept(problems: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    out = tmp_path / "made" / "base.parquet"
    with serving(answers) as server:
        done = run.invoke(app, words(server.url, problems, out, "--samples", "2", "--json"))
        assert done.exit_code == 0, (done.output, done.exception)
        told = json.loads(done.stdout)
        assert told == {"out": str(out), "samples": 16, "exact": 0, "accuracy": 0.25}
        asked = len(server.asked)
        again = run.invoke(app, words(server.url, problems, out, "--samples", "2"))
        assert again.exit_code == 0
        assert "16 samples of 8 problems by m" in again.output
        assert len(server.asked) == asked == 8
    frame = Rollouts.load(out).frame
    assert frame["correct"].sum() == 4
    assert frame["answer"].tolist()[:2] == ["1", "99"]
    assert sorted(path.name for path in out.parent.iterdir()) == ["base.parquet", "base.parquet.json"]
    assert "secret" not in (out.parent / "base.parquet.json").read_text() + again.output
    assert server.headers[0]["Authorization"] == "Bearer sk-very-secret"
    counted = run.invoke(app, ["passk", str(out), str(out), "--n-boot", "100", "--json"])
    assert counted.exit_code == 0, counted.output


def test_other_samples_are_not_taken_for_these(problems: Path, tmp_path: Path) -> None:
    out = tmp_path / "base.parquet"
    with serving(answers) as server:
        assert run.invoke(app, words(server.url, problems, out)).exit_code == 0
        done = run.invoke(app, words(server.url, problems, out, "--temperature", "0.5", "--seed", "3"))
    assert done.exit_code == 2
    assert "holds other samples (other temperature, seed)" in " ".join(done.output.split())


def test_a_server_that_fails_leaves_a_journal_and_the_next_call_goes_on(problems: Path, tmp_path: Path) -> None:
    out = tmp_path / "base.parquet"
    more = ["--retries", "0", "--concurrency", "1"]
    with serving(lambda path, body, number: answers(path, body, number) if number < 5 else (500, "down")) as server:
        done = run.invoke(app, words(server.url, problems, out, *more))
    assert done.exit_code == 1
    assert "500: down" in done.output
    assert "the same command goes on" in done.output
    assert not out.exists()
    with serving(answers) as server:
        assert run.invoke(app, words(server.url, problems, out, *more)).exit_code == 0
    assert len(server.asked) == 3
    assert len(Rollouts.load(out)) == 8


def test_settings_from_a_file(problems: Path, tmp_path: Path) -> None:
    with serving(answers) as server:
        text = (
            f"endpoint: {server.url}\nmodel: m\nproblems: {problems}\nsend-seed: false\nstop: ['Q:']\nn_problems: 3\n"
        )
        (tmp_path / "s.yaml").write_text(text)
        done = run.invoke(
            app, ["rollouts", "--settings", str(tmp_path / "s.yaml"), "--out", str(tmp_path / "r.parquet")]
        )
        assert done.exit_code == 0, done.output
    assert len(server.asked) == 3
    assert "seed" not in server.asked[0]
    assert server.asked[0]["stop"] == ["Q:"]


def test_mistakes_are_one_sentence(problems: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    out = tmp_path / "r.parquet"
    for call, code, sentence in (
        (words(nobody, problems, out), 1, "no server answers at"),
        (words("localhost", problems, out), 2, "an endpoint is an address such as"),
        (words(nobody, problems, out, "--samples", "0"), 2, "n is at least 1"),
        (words(nobody, problems, out, "--api", "soap"), 2, "--api is completions or chat, not 'soap'"),
        (words(nobody, problems, out, "--template", "chat"), 1, ""),
        (words(nobody, problems, out, "--template", "mine"), 2, "--template is none, auto or chat"),
        (words(nobody, problems, out, "--tokenizer", str(tmp_path / "gone")), 1, ""),
    ):
        done = run.invoke(app, call)
        assert done.exit_code == code, (call, done.output)
        assert sentence in " ".join(done.output.split())
        assert not out.exists()


def test_the_command_has_the_defaults_of_the_functions() -> None:
    from dataclasses import fields

    from typer.main import get_command

    from hooks.endpoint import Endpoint
    from hooks.served import Asking

    shown = {one.name: one.default for one in get_command(app).commands["rollouts"].params}  # type: ignore[attr-defined]
    shared = [
        one for one in (*fields(Asking), *fields(Endpoint)) if one.name in shown and one.name not in ("model", "stop")
    ]
    assert len(shared) >= 11
    assert all(shown[one.name] == one.default for one in shared)
