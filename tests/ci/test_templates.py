"""The templates of four systems, played: a result is green and skips what follows, a failure is red; all four agree.

Azure's conditions are evaluated by the runner. Those of the others are translated here: each uses a small part of its
system's language, and what is outside of that part stops a test.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest
import yaml

from ridgeway import scaffold
from ridgeway.ci import outputs
from ridgeway.ci.azure import Change, Folder, Inputs, Plan, StepOutcome, plan, simulate
from ridgeway.ci.checking import places
from ridgeway.cli import console

AZURE, GITHUB, GITLAB, JENKINS = (
    f"templates/{name}" for name in ("azure-pipelines", "github-actions", "gitlab-ci", "jenkins")
)
RETRAINING, QA, APPROVE, ROLLBACK = "run retraining", "run release", "approve", "rollback production"
MODEL, RELEASE = "models:/diabetes/7", "releases:/diabetes/2"


class Ending(Protocol):
    """What later jobs can know of a command."""

    @property
    def variables(self) -> Mapping[str, str]: ...

    @property
    def is_red(self) -> bool: ...


@dataclass(frozen=True)
class End:
    """How a command ends: its record's outcome, and its exit code without ``--ci``."""

    outcome: str
    code: int
    handle: str = ""

    @property
    def variables(self) -> dict[str, str]:
        record = {"outcome": self.outcome, "exit_code": self.code, "handle": self.handle}
        return outputs.of_record("", record, self.code).variables

    @property
    def is_red(self) -> bool:
        return console.soften(self.code, ci=True) != 0


ACCEPTED, WAITING, RELEASED = End("accept", 0, MODEL), End("waiting", 5, RELEASE), End("released", 0, RELEASE)
GOOD = {RETRAINING: ACCEPTED, QA: WAITING, APPROVE: RELEASED, ROLLBACK: RELEASED}
Case = tuple[dict[str, End], list[str], bool]
CASES: dict[str, Case] = {
    "all goes well": ({}, [RETRAINING, QA, APPROVE], True),
    "reject is green and ends": ({RETRAINING: End("reject", 3)}, [RETRAINING], True),
    "hold is green and ends": ({RETRAINING: End("hold", 4)}, [RETRAINING], True),
    "unchanged is green and ends": ({RETRAINING: End("unchanged", 0, MODEL)}, [RETRAINING], True),
    "bad data is red": ({RETRAINING: End("bad_data", 65)}, [RETRAINING], False),
    "a model without a verdict is green": ({QA: End("rejected", 3)}, [RETRAINING, QA], True),
    "what is released already is green": ({QA: End("unchanged", 0, RELEASE)}, [RETRAINING, QA], True),
    "approved by policy goes on": ({QA: End("approved", 0, RELEASE)}, [RETRAINING, QA, APPROVE], True),
    "a failed trial is red": ({QA: End("found", 7)}, [RETRAINING, QA], False),
    "one more yes is needed: green": ({APPROVE: End("waiting", 5, RELEASE)}, [RETRAINING, QA, APPROVE], True),
    "gone back is red, once": ({APPROVE: End("rolled_back", 6)}, [RETRAINING, QA, APPROVE], False),
    "not the approver is red": ({APPROVE: End("failed", 1)}, [RETRAINING, QA, APPROVE], False),
    "not proven is red, once more back": ({APPROVE: End("frozen", 8)}, [RETRAINING, QA, APPROVE, ROLLBACK], False),
}


@dataclass
class Played:
    """What ran, with which values, and whether the whole is green."""

    ends: Mapping[str, End]
    ran: list[str] = field(default_factory=list)
    got: dict[str, str] = field(default_factory=dict)
    is_red: bool = False

    def run(self, command: str, script: str, environ: Mapping[str, str]) -> Ending:
        """How a script ends that calls a command."""
        self.ran.append(command)
        self.is_red |= self.ends[command].is_red
        return self.ends[command]

    def passes(self, script: str, environ: Mapping[str, str]) -> None:
        """A script that calls no command, or none this time."""


def command_of(script: str) -> str:
    """Which of the four a script calls; empty for others."""
    found = re.search(r"\.venv/bin/ridgeway (.*) --ci\b", script)
    return next((name for name in GOOD if found and found[1].startswith(name)), "")


# ---- Azure Pipelines -------------------------------------------------------------------------------------------------


def azure(root: Path, ends: Mapping[str, End]) -> Played:
    made = plan(f"{AZURE}/retraining.yml", Inputs(reason="schedule"), Folder(root))
    steps = {
        f"{stage.name}/{job.name}/{step.label}": command_of(step.value)
        for stage in made.pipeline.stages
        for job in stage.jobs
        for step in job.steps
        if command_of(step.value)
    }
    told = {path: azure_outcome(ends[command]) for path, command in steps.items()}
    run = simulate(made, told)
    played = Played(ends)
    for path, command in steps.items():
        if run.results[path] != "Skipped":
            played.run(command, "", {})
            variables = run.variables[path.rpartition("/")[0]]
            played.got |= {name: variables[name] for name in ("MODEL", "RELEASE") if name in variables}
    assert played.is_red == ("Failed" in run.results.values())
    return played


def azure_outcome(end: End) -> StepOutcome:
    sets = tuple(Change(name, value, output=True) for name, value in end.variables.items())
    return StepOutcome("Failed" if end.is_red else "Succeeded", sets)


# ---- GitHub Actions --------------------------------------------------------------------------------------------------


def github(root: Path, ends: Mapping[str, End]) -> Played:
    played = Played(ends)
    github_workflow(root, "retraining.yml", {"inputs.release": True, "github.event_name": "schedule"}, played)
    return played


def github_workflow(root: Path, file: str, known: dict[str, Any], played: Played) -> str:
    """Plays the jobs of a workflow; the result of the whole."""
    jobs = yaml.safe_load((root / GITHUB / file).read_text(encoding="utf-8"))["jobs"]
    results: dict[str, str] = {}
    for name, job in jobs.items():
        needs = [job["needs"]] if isinstance(job.get("needs"), str) else job.get("needs", [])
        above = ancestors(jobs, needs)
        status = {
            "success()": all(results[one] == "success" for one in above),
            "failure()": any(results[one] == "failure" for one in above),
        }
        if not github_condition(job.get("if", "success()"), {**known, **status}):
            results[name] = "skipped"
            continue
        if "uses" in job:
            given = {f"inputs.{key}": github_value(value, known) for key, value in job["with"].items()}
            results[name] = github_workflow(root, Path(job["uses"]).name, given, played)
            continue
        (step,) = [step for step in job["steps"] if command_of(step.get("run", ""))]
        assert "shell" not in step
        environ = {key: github_value(value, known) for key, value in step.get("env", {}).items()}
        played.got |= {key: value for key, value in environ.items() if key in ("MODEL", "RELEASE")}
        end = played.run(command_of(step["run"]), step["run"], environ)
        results[name] = "failure" if end.is_red else "success"
        for key, value in job.get("outputs", {}).items():
            assert value == f"${{{{ steps.{step['id']}.outputs.{key} }}}}"
            known[f"needs.{name}.outputs.{key}"] = end.variables[key]
    return "failure" if "failure" in results.values() else "success"


def ancestors(jobs: Mapping[str, Any], names: list[str]) -> set[str]:
    found: set[str] = set()
    for name in names:
        needs = jobs[name].get("needs", [])
        found |= {name} | ancestors(jobs, [needs] if isinstance(needs, str) else needs)
    return found


def github_value(text: str, known: Mapping[str, Any]) -> str:
    return str(known.get(text.removeprefix("${{").removesuffix("}}").strip(), ""))


def github_condition(text: str, known: Mapping[str, Any]) -> bool:
    inner = text.removeprefix("${{").removesuffix("}}").strip()
    if not re.search(r"\b(success|failure|always|cancelled)\(\)", inner):
        inner = f"success() && ({inner})"  # as the documentation has it
    inner = re.sub(r"contains\(fromJSON\('(\[.*?\])'\), ([\w.]+)\)", r"(\2 in \1)", inner)
    name = r"(?:needs|inputs|github|vars)(?:\.\w+)+|(?:success|failure)\(\)"
    return python(re.sub(name, lambda match: repr(known.get(match[0], "")), inner))


def python(text: str) -> bool:
    """A condition of comparisons of literals, evaluated."""
    words = text.replace("&&", " and ").replace("||", " or ").replace("true", "True").replace("false", "False")
    assert re.fullmatch(
        r"""(?:\s|\(|\)|\[|\]|,|==|!=|\b(?:and|or|in|not|True|False|None)\b|'[^']*'|"[^"]*")*""", words
    ), words
    return bool(eval(words, {"__builtins__": {}}))


# ---- GitLab CI -------------------------------------------------------------------------------------------------------


def gitlab(root: Path, ends: Mapping[str, End]) -> Played:
    played = Played(ends)
    known = {"CI_PIPELINE_SOURCE": "schedule", "CI_COMMIT_BRANCH": "main", "CI_DEFAULT_BRANCH": "main"}
    gitlab_pipeline(root, ["build.yml", "retraining.yml"], known, played)
    return played


def gitlab_pipeline(root: Path, files: list[str], known: Mapping[str, str], played: Played) -> bool:
    """Plays a pipeline; whether it is red. One without jobs cannot be made, and would be red too."""
    jobs: dict[str, Any] = {}
    for file in files:
        jobs |= yaml.safe_load((root / GITLAB / file).read_text(encoding="utf-8"))
    jobs = {name: job for name, job in jobs.items() if isinstance(job, dict) and "rules" in job}
    chosen = {name: when for name, job in jobs.items() if (when := gitlab_when(job["rules"], known)) != "never"}
    assert chosen, f"GitLab makes no empty pipeline: {files} with {known}"
    results: dict[str, bool] = {}
    variables: dict[str, dict[str, str]] = {}
    for name, when in chosen.items():
        needs = [need["job"] if isinstance(need, dict) else need for need in jobs[name].get("needs", [])]
        failed = any(results.get(need) for need in needs)
        if any(need in chosen and need not in results for need in needs) or failed != (when == "on_failure"):
            continue
        told = {key: value for need in needs for key, value in variables.get(need, {}).items()}
        results[name], variables[name] = gitlab_job(root, jobs[name], {**known, **told}, played)
    return any(results.values())


def gitlab_job(
    root: Path, job: Mapping[str, Any], known: Mapping[str, str], played: Played
) -> tuple[bool, dict[str, str]]:
    if "trigger" in job:
        assert job["trigger"]["strategy"] == "depend"
        given = {
            name: re.sub(r"\$(\w+)", lambda m: known.get(m[1], ""), text) for name, text in job["variables"].items()
        }
        return gitlab_pipeline(root, [Path(job["trigger"]["include"]).name], {**known, **given}, played), {}
    script = "\n".join(job["script"])
    for line in job["script"]:
        guard = re.match(r'if \[ "\$(\w+)" != (\w+) \]; then .*exit 0', line)
        if guard and known.get(guard[1]) != guard[2]:
            break
        if command := command_of(line):
            words = re.findall(r'"\$(\w+)"', line)
            played.got |= {"MODEL" if command == QA else "RELEASE": known[word] for word in words}
            end = played.run(command, script, known)
            return end.is_red, dict(end.variables)
    played.passes(script, known)
    return False, {}


def gitlab_when(rules: list[Mapping[str, Any]], known: Mapping[str, str]) -> str:
    for rule in rules:
        text = re.sub(r"\$(\w+)(?=\s*(?:==|!=))", lambda match: repr(known.get(match[1], "")), rule.get("if", "'1'"))
        text = re.sub(r"(==\s*)\$(\w+)", lambda match: match[1] + repr(known.get(match[2], "")), text)
        if python(re.sub(r"\$(\w+)", lambda match: repr(known.get(match[1], "")), text)):
            return str(rule.get("when", "on_success"))
    return "never"


# ---- Jenkins ---------------------------------------------------------------------------------------------------------


def jenkins(root: Path, ends: Mapping[str, End]) -> Played:
    played = Played(ends)
    jenkins_file(root, "retraining", {"params.RELEASE": True}, played)
    return played


def blocks(text: str, head: str) -> Iterator[tuple[str, str]]:
    """Each ``HEAD { … }`` at whatever depth: the head's first group, and the inside."""
    for match in re.finditer(rf"{head}\s*\{{", text):
        depth, at = 1, match.end()
        while depth:
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            at += 1
        yield (match[1] if match.groups() else ""), text[match.end() : at - 1]


def jenkins_file(root: Path, name: str, known: dict[str, Any], played: Played) -> None:
    text = re.sub(r"(?m)^\s*//.*$", "", (root / JENKINS / f"{name}.Jenkinsfile").read_text(encoding="utf-8"))
    (_, stages), *_ = blocks(text, "stages")
    for _, stage in blocks(stages, r"stage\('(\w+)'\)"):
        conditions = [inner for _, when in blocks(stage, "when") for _, inner in blocks(when, "expression")]
        if not all(jenkins_condition(one, known) for one in conditions):
            continue
        steps = next(inner for _, inner in blocks(stage, "steps"))
        if re.search(r"build job: .*release", steps):
            value = re.search(r"string\(name: 'MODEL', value: ([\w.]+)\)", steps)
            assert value
            jenkins_file(root, "release", {"params.MODEL": known[value[1]], "env.MODEL": known[value[1]]}, played)
        if (command := command_of(steps)) and not jenkins_step(stage, steps, command, known, played):
            return


def jenkins_step(stage: str, steps: str, command: str, known: dict[str, Any], played: Played) -> bool:
    """One command of a stage, with what comes after its failure; whether the build goes on."""
    script = next(line for line in jenkins_scripts(steps) if command_of(line))
    words = re.findall(r'"\$(\w+)"', script)
    played.got |= {"MODEL" if command == QA else "RELEASE": known[f"env.{word}"] for word in words}
    environ = {name.removeprefix("env."): str(value) for name, value in known.items() if name.startswith("env.")}
    end = played.run(command, script, environ)
    for variable, key in re.findall(r"(env\.\w+) = told\.(\w+)", steps):
        known[variable] = end.variables[key]
    if end.is_red:
        for _, after in blocks(stage, "failure"):
            asked = re.search(r"told\.exit_code == '(\d+)'", after)
            if asked and asked[1] == end.variables["exit_code"]:
                (script,) = jenkins_scripts(after)
                played.run(command_of(script), script, environ)
    return not end.is_red


def jenkins_scripts(steps: str) -> list[str]:
    """What the shell gets of ``sh '…'``, in which Groovy replaces nothing."""
    return re.findall(r"\bsh '([^']*)'", steps)


def jenkins_condition(text: str, known: Mapping[str, Any]) -> bool:
    return python(re.sub(r"(?:env|params)\.\w+", lambda match: repr(known.get(match[0], "")), text))


# ---- all four --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("system", [azure, github, gitlab, jenkins], ids=lambda one: str(one.__name__))
def test_results_are_green_failures_are_red(
    system: Callable[[Path, Mapping[str, End]], Played], case: str, repository: Path
) -> None:
    ends, ran, is_green = CASES[case]
    played = system(repository, {**GOOD, **ends})
    assert (played.ran, not played.is_red) == (ran, is_green)
    if QA in ran:
        assert played.got["MODEL"] == MODEL
    if APPROVE in ran:
        assert played.got["RELEASE"] == RELEASE


def test_the_player_of_conditions_refuses_what_it_does_not_know() -> None:
    with pytest.raises(AssertionError):
        python("matches('x')")


# ---- Azure Pipelines, each file --------------------------------------------------------------------------------------

EVERYTHING = {
    "pool": "mine", "timeoutInMinutes": "360", "vault": "v", "serviceConnection": "c",
    "secrets": "{RIDGEWAY_SERVERS__PASSWORD: servers-password}", "group": "team",
}  # fmt: skip
OF_A_RELEASE = {"registryConnection": "r", "operationsFile": "operations.toml", "kubeconfigFile": "config"}


def planned(root: Path, file: str, **inputs: Any) -> Plan:
    return plan(file if "/" in file or "." in file else f"{AZURE}/{file}.yml", Inputs(**inputs), Folder(root))


@pytest.mark.parametrize(
    ("file", "parameters"),
    [
        ("build", EVERYTHING),
        ("retraining", EVERYTHING | OF_A_RELEASE),
        ("release", EVERYTHING | OF_A_RELEASE | {"model": MODEL}),
    ],
)
def test_every_parameter_is_used(file: str, parameters: dict[str, str], repository: Path) -> None:
    groups = {"team": {"RIDGEWAY_SERVERS__PREFECT": "https://p.example/api", "servers-password": "s3cret"}}
    made = planned(repository, file, parameters=parameters, groups=groups, secrets=frozenset({"servers-password"}))
    assert [warned.text for warned in made.warnings] == []
    jobs = [job for stage in made.pipeline.stages for job in stage.jobs]
    assert {job.pool.name for job in jobs if job.pool} == {"mine"}
    assert {str(job.timeout_minutes) for job in jobs} == {"360"}
    calls = [step for job in jobs for step in job.steps if command_of(step.value) or "run build" in step.value]
    assert len(calls) == len(jobs), "each job is one command"
    if file != "build":
        assert all(dict(step.env)["KUBECONFIG"] == "$(kubeconfig.secureFilePath)" for step in calls[1:])
    assert dict(calls[-1].env)["RIDGEWAY_SERVERS__PASSWORD"] == "$(servers-password)"


def test_only_main_is_published_and_never_a_pull_request(repository: Path) -> None:
    groups = {"ridgeway": {"RIDGEWAY_SERVERS__PREFECT": "https://prefect.example/api"}}
    for reason, branch, runs in (("push", "main", None), ("push", "mine", False), ("pr", "mine", False)):
        made = planned(repository, "build", reason=reason, branch=branch, groups=groups)
        assert made.decisions["Publish"].runs is runs, (reason, branch)
    assert planned(repository, "build", groups={"ridgeway": {}}).decisions["Publish"].runs is False


def test_only_the_roll_out_gets_the_token_of_the_run(repository: Path) -> None:
    made = planned(repository, "release", parameters={"model": MODEL})
    have = [
        stage.name for stage in made.pipeline.stages for job in stage.jobs for step in job.steps
        if "SYSTEM_ACCESSTOKEN" in dict(step.env)
    ]  # fmt: skip
    assert have == ["Production"]


def test_a_release_waits_at_the_environment(repository: Path) -> None:
    made = planned(repository, "release", parameters={"model": MODEL})
    names = [job.environment.name for stage in made.pipeline.stages for job in stage.jobs if job.environment]
    assert names == ["qa", "production"]


def test_this_project_is_built_from_the_same_files(repository: Path) -> None:
    made = planned(repository, "azure-pipelines.yml", reason="push")
    assert f"{AZURE}/stages/build.yml" in made.pipeline.files
    assert [stage.name for stage in made.pipeline.stages] == ["Build", "Publish"]
    assert made.decisions["Build"].runs is True


@pytest.mark.parametrize("system", scaffold.CI)
def test_a_check_finds_what_a_new_project_has(system: str, repository: Path, tmp_path: Path) -> None:
    written = scaffold.ci_files(scaffold.read_template(repository), system)
    scaffold.write(written, tmp_path)
    assert {file.system for file in places.find(tmp_path)} == {system}
    assert {file.path for file in places.find(tmp_path)} == {file.path for file in written}


def test_no_script_has_a_value_of_an_expression_in_it(repository: Path) -> None:
    """A name from outside is handed over as a variable, so that it cannot be a command."""
    for file in [*(repository / GITHUB).rglob("*.yml")]:
        for line in file.read_text(encoding="utf-8").splitlines():
            assert not re.match(r"\s*(?:- )?run:.*\$\{\{", line), f"{file.name}: {line}"


# ---- by the systems' own checkers ------------------------------------------------------------------------------------


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.mark.slow
def test_azure_files_by_the_services_schema(repository: Path, tmp_path: Path) -> None:
    files = [*(repository / AZURE).rglob("*.yml"), repository / "azure-pipelines.yml"]
    for number, file in enumerate(files):
        # The schema lists this task without saying what goes into it, and refuses every use of it.
        text = file.read_text(encoding="utf-8").replace("PublishCodeCoverageResults@2", "PublishCodeCoverageResults@1")
        (tmp_path / f"{number}-{file.name}").write_text(text, encoding="utf-8")
    options = ["--builtin-schema", "vendor.azure-pipelines", "--regex-variant", "nonunicode"]
    words = [tool("check-jsonschema"), *options, "--data-transform", "azure-pipelines", *map(str, tmp_path.iterdir())]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.slow
def test_github_files_by_actionlint(repository: Path, tmp_path: Path) -> None:
    linter = tool("actionlint")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    scaffold.write(scaffold.ci_files(scaffold.read_template(repository), "github"), tmp_path)
    done = subprocess.run([linter], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.fixture(scope="module")
def gitlab_project(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gitlab")
    scaffold.write(scaffold.ci_files(scaffold.read_template(repository), "gitlab"), folder)
    git = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.com"]
    origin = "git@lab.example:team/ml.git"
    for words in (
        ["init", "-qb", "main"],
        ["remote", "add", "origin", origin],
        ["add", "-A"],
        ["commit", "-qm", "all"],
    ):
        subprocess.run([*git, *words], check=True, capture_output=True)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "variable", "jobs"),
    [
        (".gitlab-ci.yml", "FLOW=retraining", {"retraining": "on_success", "release": "on_success"}),
        (".gitlab-ci.yml", "MODEL=models:/diabetes/7", {"release_by_hand": "on_success"}),
        (".gitlab/ci/release.yml", "RETRAINING_OUTCOME=accept", {"qa": "on_success", "production": "on_success"}),
        (".gitlab/ci/release.yml", "RETRAINING_OUTCOME=hold", {"nothing_to_release": "on_success"}),
        (".gitlab/ci/production.yml", "QA_OUTCOME=waiting", {"production": "manual", "rollback": "on_failure"}),
        (".gitlab/ci/production.yml", "QA_OUTCOME=rejected", {"nothing_to_approve": "on_success"}),
    ],
)
def test_gitlab_files_by_gitlab_ci_local(file: str, variable: str, jobs: dict[str, str], gitlab_project: Path) -> None:
    words = [tool("gitlab-ci-local"), "--list-csv", "--file", file, "--variable", variable]
    done = subprocess.run(words, cwd=gitlab_project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split(";") for line in done.stdout.splitlines() if line.count(";") > 2][1:]
    assert {row[0]: row[3] for row in rows} == jobs
