"""The walls of the house: who may import whom, what importing costs, and what must never be written."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*(ROOT / "hooks").rglob("*.py"), *(ROOT / "probes").rglob("*.py")])
QUESTIONS = ("latent", "routing", "weights", "samples", "training")
# Floors of the house from the ground up; a module may import from its own floor (itself) and from below.
FLOORS = ("hooks", "ground", "question", "claims", "study", "cli")


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return {name for name in found if name.split(".")[0] in ("hooks", "probes")}


def floor(module: str) -> int:
    parts = module.split(".")
    if parts[0] == "hooks":
        return 0
    if len(parts) == 1 or parts[1] in ("tasks", "stats", "results", "progress"):
        return 1
    if parts[1] in QUESTIONS:
        return 2
    return {"claims": 3, "evidence": 3, "verdicts": 3, "rules": 3, "report": 4, "study": 4, "cluster": 4}.get(
        parts[1], 5
    )


def test_the_top_level_is_fixed() -> None:
    told = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if told.returncode:
        pytest.skip("not a git checkout")
    top = {line.partition("/")[0] for line in told.stdout.splitlines()}
    folders = {"hooks", "probes", "tests", "notebooks"}
    files = {"pyproject.toml", "README.md", "Makefile", "LICENSE", "CHANGELOG.md", "constraints.txt"}
    assert {name for name in top - folders - files if not name.startswith(".")} == set()


def test_arrows_never_run_back_up() -> None:
    wrong = []
    for path in SOURCES:
        module = module_of(path)
        for name in imports_of(path):
            room, other = module.split(".")[:2], name.split(".")[:2]
            if name == "probes" or module == "probes":
                continue
            if floor(name) > floor(module):
                wrong.append(f"{module} imports {name}, which stands above it")
            if floor(module) == 2 and floor(name) == 2 and room != other:
                wrong.append(f"{module} imports {name}: questions do not import each other")
    assert not wrong, "\n".join(wrong)


def test_the_wall_test_would_see_a_breach() -> None:
    assert floor("probes.latent.sweep") == floor("probes.routing.gates") == 2
    assert floor("hooks.mix") < floor("probes.stats") < floor("probes.claims") < floor("probes.study.run")
    assert floor("probes.cli") == len(FLOORS) - 1


def modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["hooks", "probes"])
def test_importing_a_package_imports_no_heavy_library(module: str) -> None:
    assert not {"torch", "transformers", "transformer_lens", "pandas"} & modules_after(f"import {module}")


def test_importing_every_module_imports_neither_transformers_nor_transformer_lens() -> None:
    names = [module_of(path) for path in SOURCES if "organisms" not in path.parts]
    loaded = modules_after("import " + ", ".join(names))
    assert not {"transformers", "transformer_lens"} & loaded


def test_the_command_starts_without_torch() -> None:
    assert not {"torch", "pandas", "plotly", "transformers"} & modules_after("import probes.cli")


def test_public_names_resolve() -> None:
    code = (
        "import hooks, probes, hooks.capture, hooks.mix\n"
        "assert all(getattr(hooks, name) is not None for name in hooks.__all__)\n"
        "functions = hooks.capture, hooks.mix, hooks.score, hooks.generate\n"
        "assert all(callable(function) for function in functions)\n"
        "assert all(getattr(probes, name) is not None for name in probes.__all__)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_no_pickle_no_remote_code_no_loose_ends() -> None:
    forbidden = {
        r"torch\.load\(|pickle\.load|import pickle": "reads pickles",
        r"trust_remote_code\s*=\s*True": "runs remote code",
        r"\b(TODO|FIXME|XXX)\b": "left undone",
        r"except( Exception)?:\s*(pass|continue)": "swallows an exception",
    }
    wrong = [
        f"{path.relative_to(ROOT)} {why}"
        for path in SOURCES
        for pattern, why in forbidden.items()
        if re.search(pattern, path.read_text())
    ]
    assert not wrong, "\n".join(wrong)


def test_every_public_name_has_a_docstring() -> None:
    wrong = []
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        if not ast.get_docstring(tree):
            wrong.append(f"{path.relative_to(ROOT)}: module")
        for node in tree.body:
            named = isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
            if named and not ast.get_docstring(node):
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert not wrong, "\n".join(wrong)


def test_files_hold_one_concept() -> None:
    long = {str(path.relative_to(ROOT)): path.read_text().count("\n") for path in SOURCES}
    assert not {name: lines for name, lines in long.items() if lines > 400}


@pytest.mark.parametrize("command", [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]])
def test_lint(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_constraints_pin_torch_and_cover_what_the_project_asks_for() -> None:
    import tomllib

    pins = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().split("\n")
        if "==" in line
    }
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text().split("\n")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = project["dependencies"] + extras["dev"] + extras["organisms"]
    names = {re.split(r"[<>=\[]", item)[0].strip().lower().replace("_", "-") for item in wanted}
    assert not names - pins
