"""The README is true: its Python runs, its commands exist, its picture is there."""

import re
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from probes.cli import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
WRITTEN = ("tests/bench/results.json", "study.json")
"""Files that commands write."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_ten_lines_of_python_run_and_say_what_they_promise(tmp_path: Path) -> None:
    (code,) = blocks("python")
    assert len([line for line in code.strip().split("\n") if line]) <= 11
    script = tmp_path / "readme.py"
    script.write_text(code)
    done = subprocess.run([sys.executable, str(script)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "recover" in done.stdout.lower()


def test_every_command_of_the_readme_exists_with_its_options() -> None:
    lines = "\n".join(blocks("sh")).replace("\\\n", " ").split("\n")
    targets = {line.split()[1] for line in lines if line.startswith("make ")}
    makefile = (ROOT / "Makefile").read_text()
    assert {"demo", "test"} <= targets
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
    studies = [line for line in lines if line.startswith("whenlens ")]
    assert studies
    for line in studies:
        _, command, *words = line.split()
        shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"})
        assert shown.exit_code == 0
        assert all(word in shown.output for word in words if word.startswith("--")), line


def test_every_file_and_module_that_the_readme_names_is_there() -> None:
    for path in re.findall(r"`([\w/]+\.(?:py|json))`", README):
        if path not in WRITTEN:
            assert (ROOT / path).exists(), path
    for target in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (ROOT / target).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_no_machine_path_and_no_workplace_word_in_what_is_shipped() -> None:
    suffixes = {".py", ".md", ".toml", ".txt", ".json", ".jinja", ".css", ".js", ""}
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split("\n")
    home = re.compile(r"/(?:work|root|home/\w+)/(?:main|shared|\.library)")
    for name in filter(None, files):
        path = ROOT / name
        if path.suffix in suffixes and path.is_file() and name != "tests/test_readme.py":
            assert not home.search(path.read_text(errors="replace")), name
