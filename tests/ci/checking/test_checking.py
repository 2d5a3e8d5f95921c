"""The check of CI files: it passes the project's own, and each change of them that matters is found."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from ridgeway.artifacts import Finding
from ridgeway.ci.azure import PipelineError
from ridgeway.ci.checking import CiFile, find, look, look_at_corpus
from ridgeway.ci.checking.calls import calls
from ridgeway.ci.checking.groovy import pipeline, tokens
from ridgeway.ci.checking.places import system_of
from ridgeway.errors import NotFound, UsageError

ROOT = Path(__file__).parents[3]
NOWHERE = "/nowhere"


def no_judge(words: tuple[str, ...]) -> str:
    return ""


@cache
def files() -> tuple[CiFile, ...]:
    """The project's own files."""
    return tuple(find(ROOT))


def changed(system: str, change: tuple[str, str]) -> list[CiFile]:
    """Those of one system with a text replaced, beside those of another one."""
    own = [file for file in files() if file.system == system]
    made = [replace(file, text=file.text.replace(*change)) for file in own]
    assert made != own, "the change changes nothing"
    other = "gitlab" if system == "github" else "github"
    return [*made, *(file for file in files() if file.system == other)]


def same(findings: list[Finding]) -> Finding:
    return next(finding for finding in findings if finding.check == "the same in all")


def failed(found: Iterator[Finding]) -> list[Finding]:
    return [finding for finding in found if finding.outcome == "fail"]


def test_the_files_of_all_four_systems_say_the_same() -> None:
    findings = [*look(files(), no_judge, NOWHERE)]
    assert {file.system for file in files()} == {"azure", "github", "gitlab", "jenkins"}
    assert failed(iter(findings)) == []
    assert same(findings).sentence.startswith(
        "Azure Pipelines, GitHub Actions, GitLab CI, Jenkins: the same 7 commands in the same order"
    )


@pytest.mark.parametrize(
    ("system", "change", "told"),
    [
        ("azure", ("'waiting', 'approved'", "'waiting'"), "where waiting"),
        pytest.param(
            "azure", ("and(failed(), eq", "and(succeeded(), eq"), "rollback production", marks=pytest.mark.slow
        ),
        pytest.param("azure", ("environment: production", "environment: other"), "approve $", marks=pytest.mark.slow),
        ("github", ("needs.retraining.outputs.outcome == 'accept'", "true"), "after `run retraining`"),
        pytest.param(
            "github",
            ("needs: production", "needs: qa"),
            "`rollback production` after `run release $ --until qa`",
            marks=pytest.mark.slow,
        ),
        pytest.param("github", ("--only publish", "--only gates"), "run build --only publish", marks=pytest.mark.slow),
        ("gitlab", ("when: manual", "when: on_success"), "asked of a person"),
        pytest.param("gitlab", ("when: on_failure", "when: always"), "in any case", marks=pytest.mark.slow),
        pytest.param(
            "jenkins", ("env.OUTCOME == 'accept'", "env.OUTCOME == 'reject'"), "where reject", marks=pytest.mark.slow
        ),
        ("jenkins", ("told.exit_code == '8'", "told.exit_code == '6'"), "on failure where 6"),
        pytest.param("jenkins", ("branch 'main'", "branch 'other'"), "where main", marks=pytest.mark.slow),
    ],
)
def test_a_system_that_does_something_else_is_found(system: str, change: tuple[str, str], told: str) -> None:
    found = same([*look(changed(system, change), no_judge, NOWHERE)])
    assert found.outcome == "fail"
    assert told in found.sentence


@pytest.mark.parametrize(
    ("system", "change", "told"),
    [
        ("azure", ("dependsOn: QA", "dependOn: QA"), "did you mean dependsOn?"),
        pytest.param(
            "azure", ("dependencies.QA.outputs", "dependencies.QA.outputs["), "release.yml", marks=pytest.mark.slow
        ),
        pytest.param("github", ("jobs:\n", "jobs: [\n"), "expected", marks=pytest.mark.slow),
        ("gitlab", ("script:\n", "script: [\n"), "expected"),
        ("jenkins", ("stage('Build') {", "stage('Build') {{"), "never closed"),
        ("jenkins", ("post {", "psot {"), "did you mean post?"),
    ],
)
def test_a_spoiled_file_is_named_with_its_place(system: str, change: tuple[str, str], told: str) -> None:
    found = failed(look(changed(system, change), no_judge, NOWHERE))
    assert found
    assert any(told in finding.sentence for finding in found)


def test_what_is_not_installed_is_not_passed() -> None:
    findings = [finding for finding in look(files(), no_judge, NOWHERE) if " by " in finding.check]
    assert [finding.check for finding in findings] == [
        "Azure Pipelines by check-jsonschema",
        "GitHub Actions by actionlint",
        "GitLab CI by check-jsonschema",
        "GitLab CI by gitlab-ci-local",
    ]
    assert all(finding.outcome == "warn" for finding in findings)
    assert all(finding.sentence.startswith("not checked: ") and finding.next_step for finding in findings)


def test_programs_are_given_the_files_at_their_places(tmp_path: Path) -> None:
    """A program of that name, which says what it was given and fails."""
    program = tmp_path / "actionlint"
    program.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && exit 0\nfor one; do [ -f "$one" ] && echo "$one"; done\nexit 3\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    own = [file for file in files() if file.system == "github"]
    found = failed(look(own, no_judge, f"{tmp_path}:/usr/bin:/bin"))
    assert [finding.check for finding in found] == ["GitHub Actions by actionlint"]
    assert ".github/workflows/release.yml" in found[0].sentence
    assert "action.yml" not in found[0].sentence


def test_a_program_that_does_not_run_is_not_a_verdict(tmp_path: Path) -> None:
    program = tmp_path / "actionlint"
    program.write_text("#!/bin/sh\necho too old >&2; exit 1\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    own = [file for file in files() if file.system == "github"]
    found = next(one for one in look(own, no_judge, f"{tmp_path}:/usr/bin:/bin") if "actionlint" in one.check)
    assert (found.outcome, found.sentence) == ("warn", "not checked: actionlint does not run here: too old")


def test_each_call_is_judged() -> None:
    judged: list[tuple[str, ...]] = []

    def judge(words: tuple[str, ...]) -> str:
        judged.append(words)
        return "no good" if words[0] == "rollback" else ""

    found = failed(look(files(), judge, NOWHERE))
    assert [finding.check.rpartition(" ")[2] for finding in found] == ["commands"] * 4
    assert all("ridgeway rollback production --ci: no good" in finding.sentence for finding in found)
    assert ("run", "release", "$MODEL", "--until", "qa", "--ci") in judged


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("ridgeway up --detach", [("up", "--detach")]),
        ("set -e; .venv/bin/ridgeway run build || true", [("run", "build")]),
        ("if ridgeway probe qa; then echo ok; fi", [("probe", "qa")]),
        ("ridgeway run release 'a b' \\\n   --ci > log", [("run", "release", "a b", "--ci")]),
        ("# ridgeway run build\necho ridgeway run\npip install ridgeway somewhere", []),
        ("ridgeway approve $(handle.of.it) --ci", [("approve", "$X", "--ci")]),
        ("cat ridgeway.toml", []),
        ("ridgeway run 'unclosed", [("run", "'unclosed")]),
    ],
)
def test_calls_in_scripts(script: str, expected: list[tuple[str, ...]]) -> None:
    assert [*calls(script)] == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("pipeline { agent any }", "the pipeline has no stages"),
        ("pipeline { stages { stage('a') { steps { sh 'x' } } } }", "the pipeline has no agent"),
        ("pipeline {\n stages { stage('a') { steps { sh 'x' } } }\n agent any\n}", "agent comes first"),
        (
            "pipeline {\n agent any\n post { always { sh 'x' } }\n stages { stage('a') { steps { sh 'x' } } }\n}",
            "after",
        ),
        ("pipeline {\n agent any\n stages { stage('a') { agent any } }\n}", "a stage needs one of"),
        ("pipeline {\n agent any\n stages { stage('a') { steps { sh 'x' }\n steps { sh 'y' } } }\n}", "there twice"),
        ("pipeline {\n agent any\n stages { stage('a') { steps { sh 'x } } }\n}", "no end"),
        ("pipeline {\n agent any\n stages { step('a') { } }\n}", "stages has no step"),
        ("node { sh 'x' }", "no declarative pipeline"),
        ("pipeline { agent any ) }", ") closes nothing"),
        ("/* never ends", "no end"),
        ("", "no declarative pipeline"),
    ],
)
def test_spoiled_jenkinsfiles(text: str, told: str) -> None:
    with pytest.raises(PipelineError) as caught:
        pipeline("Jenkinsfile", text)
    assert told in str(caught.value)
    assert "Jenkinsfile:" in caught.value.where


def test_groovy_texts_and_comments_hold_any_bracket() -> None:
    found = tokens("Jenkinsfile", 'a \'}\' /* { */ """\n ( "x" """ // ]\nb \'\\\'{\'')
    assert [token.text for token in found if token.kind in {"word", "text"}] == [
        "a", "'}'", '"""\n ( "x" """', "b", "'\\'{'",
    ]  # fmt: skip
    assert found[-1].place.line == 3


@pytest.mark.parametrize(
    ("path", "text", "system"),
    [
        (".github/workflows/x.yml", "", "github"),
        ("ci/Jenkinsfile.release", "", "jenkins"),
        ("x.groovy", "", "jenkins"),
        ("azure-pipelines.yml", "", "azure"),
        ("x.yml", "trigger: none\nsteps: []\n", "azure"),
        ("x.yml", "stages: [a]\nb:\n  script:\n  - x\n", "gitlab"),
    ],
)
def test_the_system_of_a_file(path: str, text: str, system: str) -> None:
    assert system_of(path, text) == system


def test_a_file_for_no_system() -> None:
    with pytest.raises(UsageError, match="for no CI system"):
        system_of("compose.yml", "services: {}\n")


def test_a_corpus_plans_or_names_what_is_not_known(tmp_path: Path) -> None:
    texts = {
        "one/azure-pipelines.yml": "steps:\n- template: t/steps.yml\n  parameters: {what: all}\n",
        "one/t/steps.yml": "parameters:\n- name: what\n  type: string\nsteps:\n- script: make ${{ parameters.what }}\n",
        "two/ci.yml": "jobs:\n- job: a\n  strategy:\n    parallel: 2\n  steps: [script: make]\n",
        "three/deep/ci.yml": "steps:\n- scrpt: make\n",
        "four/ci.yml": "a: &b c\nd: *b\n",
        "five/ci.yml": "parameters:\n- name: n\n  type: number\ntrigger: none\nsteps: [script: make]\n",
        "five/.github/workflows/x.yml": "on: push\n",
        "six/ci.yml": "\x00\x01: [",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    tried = {one.file: one for one in look_at_corpus(tmp_path)}
    assert {file: one.outcome for file, one in tried.items()} == {
        "one/azure-pipelines.yml": "plans",
        "one/t/steps.yml": "template",
        "two/ci.yml": "unsupported",
        "three/deep/ci.yml": "refused",
        "four/ci.yml": "unsupported",
        "five/ci.yml": "plans",
        "six/ci.yml": "refused",
    }
    assert tried["two/ci.yml"].place == "ci.yml:4:5"
    assert "parallel" in tried["two/ci.yml"].what
    assert tried["one/azure-pipelines.yml"].what == "1 stages, 1 jobs, 2 steps"
    with pytest.raises(NotFound):
        next(look_at_corpus(tmp_path / "nowhere"))
