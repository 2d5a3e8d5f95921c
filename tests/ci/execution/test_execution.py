"""Plans carried out: scripts, variables, artifacts, conditions, retries, approvals."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.ci.execution.conftest import Carried


def test_a_step_works_in_a_clean_clone_of_the_commit(carried: Carried) -> None:
    told = carried("steps:\n- script: cat file.txt; git status --short; git rev-parse HEAD; echo junk > file.txt\n")
    assert told.made.state == "succeeded"
    assert told.lines[1] == "committed"
    assert len(told.lines[2]) == 40
    assert (told.root / "file.txt").read_text() == "committed\n"
    assert not (Path(told.made.folder) / "work").exists()


def test_a_script_ends_as_its_last_command_does(carried: Carried) -> None:
    told = carried("""
        steps:
        - script: |
            false
            echo on
        - bash: exit 3
          continueOnError: true
        - bash: |
            set -e
            false
            echo never
        - script: echo skipped
        - script: echo always
          condition: always()
        - script: echo not
          enabled: false
    """)
    expected = ["Succeeded", "SucceededWithIssues", "Failed", "Skipped", "Succeeded", "Skipped"]
    assert [told.results[f"__default/Job/{number}"] for number in range(1, 7)] == expected
    assert told.notes("__default/Job/2") == "exit code 3"
    assert told.lines[1:] == ["on", "always"]
    assert told.made.state == "failed"


def test_variables_of_the_agent_and_of_the_file(carried: Carried) -> None:
    told = carried("""
        variables: {my.name: x, secret.word: hidden}
        steps:
        - script: |
            echo "$MY_NAME $BUILD_SOURCEBRANCH $AGENT_JOBSTATUS $TF_BUILD [$SECRET_WORD] $(my.name)"
            test "$PWD" = "$BUILD_SOURCESDIRECTORY" && test -d "$AGENT_TEMPDIRECTORY" && pwd | sed 's,.*/,,'
        - script: echo $OWN; pwd | sed 's,.*/,,'
          env: {OWN: $(my.name)}
          workingDirectory: ..
        - script: pwd
          workingDirectory: nowhere
    """)
    assert told.lines[1:] == ["x refs/heads/main Succeeded True [] x", "s", "x", "__default.Job"]
    assert told.notes("__default/Job/3") == "there is no folder nowhere"


def test_the_shell_of_whoever_calls_is_not_handed_on(carried: Carried, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "t0p")
    assert carried("steps: [script: 'echo [$MY_TOKEN]']").lines[1:] == ["[]"]


def test_secrets_are_masked_and_reach_scripts_by_mapping_only(carried: Carried) -> None:
    told = carried(
        """
        steps:
        - script: |
            echo "[$KEY] [$MAPPED] $(key)"
            printf 's3c'; sleep 0.3; echo 'ret-one'
            printf '%s\\n' "$MAPPED"
            echo "##vso[task.setvariable variable=made;isSecret=true]fresh-secret"
          env: {MAPPED: $(key)}
        - script: echo "$(made) [$MADE]"; echo fresh-secret | base64 | base64 -d >&2
        - script: echo "##vso[task.setsecret]other"; echo other
        - script: echo other; exit 1
          displayName: shows $(key)
        """,
        variables={"key": "s3cret-one\nsecond line"},
        secrets=frozenset({"key"}),
    )
    assert told.lines[1:4] == ["[] [***] ***", "***", "***"]
    assert told.lines[5:] == ["*** []", "***", "##vso[task.setsecret]***", "***", "***"]
    kept = "".join(found.read_text() for found in Path(told.made.folder).rglob("*") if found.is_file())
    for secret in ("s3cret-one", "second line", "fresh-secret", "other"):
        assert secret not in kept


def test_outputs_go_to_steps_jobs_and_stages(carried: Carried) -> None:
    told = carried("""
        stages:
        - stage: One
          jobs:
          - job: a
            steps:
            - script: |
                echo "##vso[task.setvariable variable=x;isOutput=true]1"
                echo "text before ##vso[task.setvariable variable=plain]a%0Ab"
              name: s
            - script: printf '%s %s' "$(s.x)" "$PLAIN"
          - job: b
            dependsOn: a
            variables: {got: "$[ dependencies.a.outputs['s.x'] ]"}
            steps: [{checkout: none}, {script: echo b $(got)}]
        - stage: Two
          condition: and(succeeded(), eq(dependencies.One.outputs['a.s.x'], '1'))
          variables: {got: "$[ stageDependencies.One.a.outputs['s.x'] ]"}
          jobs:
          - job: c
            steps: [{checkout: none}, {script: echo c $(got)}]
        - stage: Three
          condition: eq(dependencies.Two.result, 'Failed')
          jobs: [job: d]
    """)
    assert [line for line in told.lines if not line.startswith(("##", "text"))][1:] == ["1 a", "b", "b 1", "c 1"]
    assert told.results["Two"] == "Succeeded"
    assert told.results["Three"] == "Skipped"
    assert "eq('Succeeded', 'Failed')" in told.notes("Three")


def test_commands_to_the_agent(carried: Carried) -> None:
    told = carried("""
        steps:
        - script: |
            echo "##vso[task.logissue type=warning;sourcepath=a.py;linenumber=3]careful"
            echo "##vso[task.complete result=SucceededWithIssues;]done"
        - script: |
            mkdir bin; printf '#!/bin/sh\\necho found' > bin/mine; chmod +x bin/mine
            echo "##vso[task.prependpath]$PWD/bin"
            echo "##vso[build.updatebuildnumber]4.2"
            echo "# Done" > summary.md; echo "##vso[task.uploadsummary]$PWD/summary.md"
        - script: mine; echo $(Build.BuildNumber)
        - script: echo "##vso[release.deploy all=true]now"; echo "##vso[task.complete result=Failed]no good"
        """)
    assert told.results["__default/Job/1"] == "SucceededWithIssues"
    assert told.notes("__default/Job/1") == "warning: a.py:3: careful"
    assert "found" in told.lines
    assert "4.2" in told.lines
    assert [one.read_text() for one in (Path(told.made.folder) / "summaries").iterdir()] == ["# Done\n"]
    assert told.results["__default/Job/4"] == "Failed"
    assert told.notes("__default/Job/4") == "##vso[release.deploy] is shown, not obeyed; no good"


def test_what_is_published_can_be_downloaded(carried: Carried) -> None:
    told = carried("""
        jobs:
        - job: a
          steps:
          - script: mkdir -p out/deep; echo 1 > out/one.txt; echo 2 > out/deep/two.md
          - publish: out
            artifact: drop
          - publish: out
            artifact: drop
            continueOnError: true
          - publish: nowhere
            artifact: none
            continueOnError: true
        - job: b
          dependsOn: a
          steps:
          - checkout: none
          - download: current
            artifact: drop
            patterns: '**/*.md'
          - script: cd $(Pipeline.Workspace)/drop; find . -type f
          - download: current
            artifact: missing
    """)
    assert told.made.artifacts == ("drop",)
    assert (Path(told.made.folder) / "artifacts/drop/deep/two.md").read_text() == "2\n"
    assert told.notes("__default/a/3") == "the artifact drop exists already in this run"
    assert "nowhere is not there" in told.notes("__default/a/4")
    assert told.lines[-2:] == ["artifact drop: 1 file to drop", "./deep/two.md"]
    assert told.notes("__default/b/4") == "no artifact 'missing' in this run; published so far: drop"


def test_a_task_that_cannot_be_executed_is_named_and_not_passed(carried: Carried) -> None:
    told = carried("steps:\n- task: Docker@2\n- download: other\n- script: echo on\n")
    assert told.made.not_executed == ("__default/Job/1", "__default/Job/2")
    assert told.notes("__default/Job/1") == "not executed: task Docker@2"
    assert told.results["__default/Job"] == "SucceededWithIssues"
    record = json.loads((Path(told.made.folder) / "run.json").read_text())
    assert record["not_executed"] == [*told.made.not_executed]


def test_tasks_that_something_stands_for(carried: Carried, tmp_path: Path) -> None:
    (tmp_path / "kube").write_text("clusters\n")
    junit = "<testsuite><testcase name='a'/><testcase name='b'><failure/></testcase></testsuite>"
    told = carried(
        f"""
        steps:
        - bash: |
            mkdir t; echo "{junit}" > t/TEST-a.xml; echo '<coverage line-rate="0.875"/>' > t/coverage.xml
        - task: PublishTestResults@2
        - task: PublishTestResults@2
          inputs: {{failTaskOnFailedTests: true}}
          continueOnError: true
        - task: PublishCodeCoverageResults@2
          inputs: {{summaryFileLocation: $(System.DefaultWorkingDirectory)/t/*.xml}}
        - task: Cache@2
          inputs: {{key: a, path: b}}
        - task: AzureKeyVault@2
          inputs: {{KeyVaultName: v, SecretsFilter: 'key, missing'}}
          continueOnError: true
        - task: AzureKeyVault@2
          inputs: {{KeyVaultName: v, SecretsFilter: key}}
        - task: DownloadSecureFile@1
          name: kube
          inputs: {{secureFile: kubeconfig}}
        - task: Bash@3
          inputs: {{targetType: inline, script: cat $(kube.secureFilePath)}}
        - task: PublishPipelineArtifact@1
          inputs: {{targetPath: t, artifact: tests}}
        """,
        variables={"key": "s3cret"},
        secrets=frozenset({"key"}),
        secure_files={"kubeconfig": tmp_path / "kube"},
    )
    assert told.notes("__default/Job/2") == "tests: 2 tests, 1 failed, 0 skipped"
    assert told.results["__default/Job/3"] == "SucceededWithIssues"
    assert told.notes("__default/Job/4") == "coverage: 87.5% of the lines"
    assert told.notes("__default/Job/5") == "cache: nothing is kept yet"
    assert "--secret missing" in told.notes("__default/Job/6")
    assert told.results["__default/Job/7"] == "Succeeded"
    assert "clusters" in told.lines
    assert told.made.artifacts == ("tests",)


@pytest.mark.parametrize(
    ("program", "wanted", "note"),
    [
        ('exec "$PYTHON" "$@"', "3.9", "Python 3.9 of this machine, {bin}/python3.9, in an environment of the job"),
        ('exec "$PYTHON" "$@"', "3.8", "not executed: Python 3.8 is not here"),
        ("echo a stub of a version manager >&2; exit 1", "3.9", "not executed: Python 3.9 is not here"),
        ("", ">=3.9", "not executed: Python >=3.9 is not here"),
    ],
)
def test_the_machines_own_python_of_a_version(
    program: str, wanted: str, note: str, carried: Carried, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    stub = tmp_path / "bin" / "python3.9"
    stub.write_text(f"#!/bin/sh\n{program}\n".replace("$PYTHON", sys.executable), encoding="utf-8")
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    told = carried(f"""
        steps:
        - task: UsePythonVersion@0
          inputs: {{versionSpec: '{wanted}'}}
        - script: python -c 'import sys; print(sys.prefix == sys.argv[1])' "$AGENT_TOOLSDIRECTORY/python"
    """)
    assert told.notes("__default/Job/1").startswith(note.format(bin=tmp_path / "bin"))
    assert told.lines[1:] == ["True"]


def test_a_step_is_tried_again_as_often_as_the_file_says(carried: Carried) -> None:
    told = carried("""
        steps:
        - script: echo x >> $(Agent.TempDirectory)/tried; test $(wc -l < $AGENT_TEMPDIRECTORY/tried) -ge 3
          retryCountOnTaskFailure: 2
    """)
    assert told.made.state == "succeeded"
    assert "tried again after: exit code 1" in told.notes("__default/Job/1")


APPROVED = """
stages:
- stage: QA
  jobs: [job: a]
- stage: Production
  jobs:
  - deployment: roll
    environment: production
    strategy:
      runOnce:
        preDeploy: {steps: [script: echo pre]}
        deploy: {steps: [script: 'echo deploy $ENVIRONMENT_NAME; exit %s']}
        on:
          failure: {steps: [script: echo back]}
          success: {steps: [script: echo good]}
- stage: After
  jobs: [job: b]
- stage: Way_back
  dependsOn: Production
  condition: failed()
  jobs: [job: c]
"""


@pytest.mark.parametrize(
    ("answer", "code", "state", "results", "lines"),
    [
        (True, 0, "succeeded", ("Succeeded", "Succeeded", "Skipped"), ["pre", "deploy production", "good"]),
        (True, 1, "failed", ("Failed", "Skipped", "Succeeded"), ["pre", "deploy production", "back"]),
        (False, 0, "refused", ("Failed", "Skipped", "Succeeded"), []),
        (None, 0, "waiting", ("Waiting", "NotStarted", "NotStarted"), []),
    ],
)
def test_a_deployment_waits_for_its_approval(
    carried: Carried, answer: bool | None, code: int, state: str, results: tuple[str, ...], lines: list[str]
) -> None:
    told = carried(APPROVED % code, answers={"production": answer})
    assert told.made.state == state
    assert tuple(told.results[name] for name in ("Production", "After", "Way_back")) == results
    assert told.lines == lines
    assert [(one.stage, one.environment, one.so_far) for one in told.asked] == [
        ("Production", "production", {"QA": "Succeeded"})
    ]
    assert told.made.waits_for == (("production",) if answer is None else ())


def test_a_stage_alone_brings_what_it_depends_on(carried: Carried) -> None:
    told = carried(APPROVED % 0, stages=["qa"])
    assert told.results == {"QA": "Succeeded", "QA/a": "Succeeded"}
    assert told.asked == []


def test_jobs_run_side_by_side(carried: Carried) -> None:
    """Each waits for a file that the other one makes: one after the other they would never end."""
    meet = "touch {0}; until test -e {1}; do sleep 0.05; done"
    folder = "$(Agent.WorkFolder)"
    told = carried(f"""
        jobs:
        - job: a
          timeoutInMinutes: 1
          steps: [{{checkout: none}}, {{script: "{meet.format(f"{folder}/x", f"{folder}/y")}"}}]
        - job: b
          timeoutInMinutes: 1
          steps: [{{checkout: none}}, {{script: "{meet.format(f"{folder}/y", f"{folder}/x")}"}}]
    """)
    assert told.made.state == "succeeded"


def test_counters_go_on_from_run_to_run(carried: Carried) -> None:
    text = "variables: {n: \"$[ counter('a', 7) ]\"}\nsteps: [{checkout: none}, {script: echo $(n)}]"
    assert [carried(text).lines for _ in range(2)] == [["7"], ["8"]]


def test_a_checkout_with_a_depth_and_a_path(carried: Carried) -> None:
    told = carried("""
        steps:
        - checkout: self
          path: here
          fetchDepth: 1
        - script: git rev-list --count HEAD; pwd | sed 's,.*/,,'; git rev-parse --is-shallow-repository
    """)
    assert told.lines[1:] == ["1", "here", "true"]
