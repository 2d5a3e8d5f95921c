"""What the documentation says is so: examples run, commands and settings exist, links lead somewhere."""

from __future__ import annotations

import doctest
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from ridgeway import settings
from ridgeway.cli import COMMANDS, program

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "data").glob("*.md"))]
SCRIPTS = [ROOT / "demo/play.sh", ROOT / "Makefile", ROOT / "templates/project/Makefile"]
LATER = {"up", "publish", "ci"}
"""Commands of the design that are not built; a page that describes them must say so, under a heading with "not"."""


def modules() -> Iterator[str]:
    for top, folder in ((ROOT / "src", ROOT / "src"), (ROOT, ROOT / "steps"), (ROOT, ROOT / "flows")):
        for file in sorted(folder.rglob("*.py")):
            parts = file.relative_to(top).with_suffix("").parts
            if parts[-1] == "__main__":  # importing it runs it
                continue
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("name", list(modules()))
def test_the_examples_in_docstrings_run(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} does not say what it is"
    ran = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert ran.failed == 0


# ---- commands --------------------------------------------------------------------------------------------------------


def pages_text() -> str:
    return "\n".join(page.read_text(encoding="utf-8") for page in PAGES)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_documentation(name: str) -> None:
    assert re.search(rf"\bridgeway {name}\b", pages_text()), f"no page mentions `ridgeway {name}`"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_with_an_example_that_is_valid(name: str) -> None:
    command = program.get_command(click.Context(program), name)
    assert command is not None
    assert command.help
    assert command.epilog
    assert "Example" in command.epilog
    examples = list(called(command.epilog))
    assert examples
    assert [problem for words in examples if (problem := wrong_with(words))] == []


def called(text: str) -> Iterator[list[str]]:
    """Each call of ridgeway in a text, as words: in a block of code, or between backticks."""
    for line in text.splitlines():
        inline = re.findall(r"`(?:\S*/)?ridgeway ([^`]+)`", line)
        block = re.findall(r"^(?: {2,}|\t|\$ )(?:.*&& )?(?:\S*/)?ridgeway (.+)$", line)
        for call in inline or block:
            try:
                words = shlex.split(re.split(r"\s{2,}|\s#|&&|;|…| \| | > ", call)[0])
            except ValueError:
                words = call.split()
            if words and (words[0].startswith("-") or re.fullmatch(r"[a-z]+", words[0])):
                yield words


def wrong_with(words: list[str]) -> str:
    """What is wrong with a call, in words; empty for a good one."""
    if words[0].startswith("-"):
        return "" if words[0] in {"--help", "-h", "--version"} else f"ridgeway has no option {words[0]}"
    if words[0] not in COMMANDS:
        return "" if words[0] in LATER else f"there is no command {words[0]}"
    command = program.get_command(click.Context(program), words[0])
    if isinstance(command, click.Group) and len(words) > 1 and not words[1].startswith("-"):
        name, *words = words[1:]
        command = command.get_command(click.Context(command), name)
        if command is None:
            return f"there is no command {name}"
        words = [name, *words]
    assert command is not None
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    known |= {"--help", "-h"}
    strange = [word for word in words[1:] if re.match(r"--?[a-z]", word) and word.partition("=")[0] not in known]
    return f"ridgeway {words[0]} has no option {strange[0]}" if strange else ""


@pytest.mark.parametrize("page", [*PAGES, *SCRIPTS], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_call_in_a_page_is_one_that_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert [problem for words in called(text) if (problem := wrong_with(words))] == []


def test_the_reader_of_calls_sees_a_wrong_one() -> None:
    calls = list(
        called("see `ridgeway runn retraining` and\n    ridgeway run retraining --dta x   # why\nridgeway new it is\n")
    )
    assert calls == [["runn", "retraining"], ["run", "retraining", "--dta", "x"]]
    assert [wrong_with(words) for words in calls] == ["there is no command runn", "ridgeway run has no option --dta"]


@pytest.mark.parametrize("name", ["commands.md", "settings.md"])
def test_generated_pages_are_what_the_program_says(name: str) -> None:
    specification = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    assert specification
    assert specification.loader
    generate = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(generate)
    page = ROOT / "docs" / name
    assert page.read_text(encoding="utf-8") == generate.pages()[page], "make docs"


# ---- settings, steps, links ------------------------------------------------------------------------------------------


def test_every_setting_has_a_meaning() -> None:
    loaded = settings.load(ROOT, environ={})
    assert [row.path for row in settings.rows(loaded) if len(row.help.split()) < 2] == []


def is_setting(name: str, known: list[str]) -> bool:
    """Whether a name that a page uses is a setting, a table of settings, or an entry of a free table."""
    for path in known:
        # A free name stands where the declaration says NAME: targets.production.kind.
        pattern = re.escape(path).replace("NAME", "(NAME|X|[a-z][a-z0-9-]*)")
        parts = pattern.split(r"\.")
        beginnings = [r"\.".join(parts[:count]) for count in range(2, len(parts) + 1)]
        if any(re.fullmatch(beginning, name) for beginning in beginnings):
            return True
    return any(name.startswith(f"{path}.") for path in FREE_TABLES) or name.partition(".")[0] == "approvers"


FREE_TABLES = ("training.parameters", "rules.floors", "rules.ceilings", "rules.slices", "data.types")


def test_every_setting_that_a_page_names_exists() -> None:
    known = settings.known_paths()
    sections = {path.partition(".")[0] for path in known}
    named = set(re.findall(rf"`((?:{'|'.join(sections)})(?:\.[A-Za-z_][\w-]*)+)(?![\w(])", pages_text()))
    others = (".md", ".py", ".csv", ".json", ".parquet", ".toml", ".html", ".example", ".yml", ".Jenkinsfile")
    files = {name for name in named if name.endswith(others)}
    assert sorted(name for name in named - files if not is_setting(name, known)) == []


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("targets.qa.kind", True),
        ("targets.qa.kindness", False),
        ("targets.production.rollout.when_full", True),
        ("release.probe", True),
        ("release.prob", False),
        ("rules.floors.r2", True),
        ("data.sauce", False),
    ],
)
def test_the_reader_of_settings_sees_a_wrong_one(name: str, is_one: bool) -> None:
    assert is_setting(name, settings.known_paths()) is is_one


def test_the_examples_settings_file_is_valid_and_says_nothing_twice() -> None:
    loaded = settings.load(ROOT, environ={})
    assert {origin for path in settings.known_paths() if (origin := loaded.origin(path))} <= {
        "default",
        "ridgeway.toml",
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_settings_in_a_page_are_valid(page: Path, tmp_path: Path) -> None:
    for block in re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL):
        # Over the example's settings, as operations' half lies over the project's; the project's half stands alone.
        shutil.copy(ROOT / "ridgeway.toml", tmp_path)
        half = "operations" if set(tomllib.loads(block)) <= set(settings.OPERATIONS_SECTIONS) else "ridgeway"
        (tmp_path / f"{half}.toml").write_text(block, encoding="utf-8")
        settings.load(tmp_path, environ={})


def test_every_step_is_in_the_documentation() -> None:
    names = {file.stem for file in (ROOT / "steps").glob("*.py")} - {"__init__"}
    assert sorted(name for name in names if name not in pages_text()) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|mailto:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


# ---- a command line that answers at once -----------------------------------------------------------------------------


def test_help_imports_none_of_the_heavy_libraries() -> None:
    program_text = (
        "import sys; from ridgeway.cli import invoke; invoke(['--help']); "
        "heavy = {'prefect', 'mlflow', 'sklearn', 'pandas', 'great_expectations', 'matplotlib', 'numpy'}; "
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program_text], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Example" in done.stdout
