"""Holds the repository to what its documents and its style say."""

import ast
import re
import subprocess
from pathlib import Path

import pytest
import typer

from cli import commands
from ops.settings import VARIABLES, Settings

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("book", "exchange", "collector", "lake", "query", "server", "ops", "cli", "sdk", "bench")
MODULES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def identified(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_each_setting_is_documented_and_each_documented_setting_exists() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \|", (ROOT / "docs" / "settings.md").read_text(), re.MULTILINE)

    assert sorted(rows) == sorted(variable.name for variable in VARIABLES)


def test_the_documented_defaults_are_the_real_ones() -> None:
    table = re.findall(r"^\| `([A-Z_]+)` \| `?([^|`]*)`? \|", (ROOT / "docs" / "settings.md").read_text(), re.MULTILINE)
    fields = {variable.name: variable.field for variable in VARIABLES}
    settings = Settings()

    for name, documented in table:
        value = getattr(settings, fields[name])
        if name == "PORT" or value is None:
            assert documented.strip() == "", name
        elif isinstance(value, float | int):
            assert f"{value:g}" == documented.strip() or str(value) == documented.strip(), name
        else:
            assert str(value) == documented.strip(), name


def test_the_readme_names_every_command() -> None:
    readme = (ROOT / "README.md").read_text()

    app = typer.Typer()
    commands.register(app)
    names = [command.name for command in app.registered_commands]
    assert {"up", "collect", "publish", "serve", "verify", "import", "sql"} <= set(names)
    for name in names:
        assert f"`kalshibook {name}`" in readme, name
    for name in re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE):
        assert name == "help" or f"make {name}" in readme


def test_bare_make_lists_the_commands() -> None:
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)

    listed = [line.split()[1] for line in done.stdout.splitlines()]
    assert {"up", "test", "check", "bench", "fault", "lock"} <= set(listed)


@pytest.mark.parametrize("name", ["requirements.lock", "Makefile", "pyproject.toml", "sdk/pyproject.toml", ".ci/run"])
def test_no_address_stands_in_what_installs(name: str) -> None:
    assert "://" not in (ROOT / name).read_text()


def test_every_pin_has_a_hash() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    pins = re.findall(r"^[a-z0-9][^\n]*==(?:[^\n]*\\\n)+", lock, re.MULTILINE | re.IGNORECASE)

    assert len(pins) == len(re.findall(r"^[a-z0-9]", lock, re.MULTILINE | re.IGNORECASE)) > 20


@pytest.mark.parametrize("path", MODULES, ids=identified)
def test_a_module_says_what_it_owns_and_is_no_longer_than_it_should_be(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]

    assert ast.get_docstring(tree), "no docstring"
    assert len(text.splitlines()) <= 400
    for function in functions:
        assert (function.end_lineno or 0) - function.lineno < 50 + docstring_lines(function), function.name


def docstring_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return len((ast.get_docstring(function, clean=False) or "").splitlines())


def test_the_map_of_modules_names_modules_that_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    drawn = text.split("## Modules, by the way of a record")[1].split("```")[1]
    places = {path.stem for path in MODULES} | {path.parent.name for path in MODULES}
    cells = [set(cell.strip().split(", ")) for cell in re.split(r"(?: {2,}|[^a-z_, ])+", drawn) if cell.strip()]
    listed = [names for names in cells if names & places]

    assert {"endings", "publisher", "published_hour", "corrections"} <= set().union(*listed)
    assert [names - places for names in listed if names - places] == []


DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("path", DOCUMENTS, ids=identified)
def test_a_link_from_one_document_to_another_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
        assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=identified)
def test_a_module_that_a_document_names_is_there(path: Path) -> None:
    for target in re.findall(rf"`((?:{'|'.join(PACKAGES)})/[a-z_/]+\.py)`", path.read_text()):
        assert (ROOT / target).exists(), target
