"""The commands, called as the terminal calls them, in a project whose server lasts."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from ridgeway.cli import invoke
from ridgeway.orchestrator import rest
from ridgeway.project import Project
from tests.publication.toy import commit_all, eventually, git

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("looked_here")]
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ridgeway(
    project: Project, server_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    """Runs a command in the project: its exit code, stdout and stderr."""
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("RIDGEWAY_SERVERS__PREFECT", server_url)

    def command(*arguments: str) -> tuple[int, str, str]:
        os.chdir(project.root)
        capsys.readouterr()
        code = invoke(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


def test_publish_plan_and_again(ridgeway: Command, project: Project, server_url: str) -> None:
    commit = git(project.root, "rev-parse", "HEAD")[:12]
    code, out, _ = ridgeway("publish", "--plan")
    assert code == 0
    assert out == (
        f"create retraining: from commit {commit}\n"
        f"create tell: from commit {commit}; "
        "schedule weekly: 0 4 * * 1 Europe/Berlin, overlap skip, missed once, {'times': 2}\n"
    )
    code, out, err = ridgeway("publish", "--json")
    told = json.loads(out)
    assert (code, told["plan" if "plan" in told else "changes"][0]) == (0, f"create retraining: from commit {commit}")
    assert told["page"] == f"{server_url.removesuffix('/api')}/deployments"
    assert f"create retraining: from commit {commit}" in err
    assert ridgeway("publish") == (
        0,
        f"unchanged: the flows of {project.name} are published from commit {commit}\n",
        "",
    )
    assert ridgeway("publish", "--plan")[1] == "nothing would change\n"


def test_publish_tells_what_it_leaves_out(ridgeway: Command, project: Project) -> None:
    (project.root / "new.txt").touch()
    code, _, err = ridgeway("publish")
    assert (code, err.splitlines()[0]) == (2, "error: the working tree is not as in the commit")
    code, _, err = ridgeway("publish", "--allow-dirty")
    assert code == 0
    assert "left out, because they are not in the commit: new.txt" in err
    assert ridgeway("publish", "--commit", "v9")[0] == 2


def test_detach(ridgeway: Command, project: Project, server_url: str) -> None:
    code, _, err = ridgeway("run", "retraining", "--detach")
    assert (code, err.splitlines()[0]) == (2, f"error: retraining/{project.name} is not published")
    ridgeway("publish")
    plan = ridgeway("run", "retraining", "--detach", "--plan")[1]
    assert plan == f"start retraining/{project.name} on {server_url.removesuffix('/api')} with its defaults\n"
    asked = ("run", "retraining", "--detach", "--key", "november", "--data", "rows.csv")
    (project.root / "rows.csv").touch()
    code, out, err = ridgeway(*asked)
    assert (code, err.splitlines()[0]) == (0, f"retraining/{project.name}: asked for; a worker carries it out")
    run = rest.call(f"{server_url}/flow_runs/{out.strip().rpartition('/')[2]}")
    assert (run["parameters"], run["state_type"]) == ({"source": str(project.root / "rows.csv")}, "SCHEDULED")
    code, again, err = ridgeway(*asked)
    assert (code, again) == (0, out)
    assert err.splitlines()[0] == f"retraining/{project.name}: asked for before, with the key 'november'"
    told = json.loads(ridgeway(*asked, "--json")[1])
    assert (told["is_new"], told["deployment"], told["page"]) == (False, f"retraining/{project.name}", out.strip())


def test_detach_names_the_wrong_parameter(ridgeway: Command, project: Project) -> None:
    """The toy's flow takes no overrides."""
    ridgeway("publish")
    code, _, err = ridgeway("run", "retraining", "--detach", "--set", "training.seed=1")
    assert code == 2
    assert "  where     parameter overrides\n" in err


def test_list_shows_what_is_published_and_what_is_yet_to_run(ridgeway: Command, project: Project) -> None:
    assert ridgeway("list")[1] == "nothing is running, and nothing waits\n"
    ridgeway("publish")
    commit = git(project.root, "rev-parse", "HEAD")[:12]
    rows = eventually(lambda: json.loads(ridgeway("list", "--json")[1])["running"])
    assert [(row["run"], row["state"], row["what came of it"]) for row in rows] == [
        (f"tell/{project.name}", "scheduled", "schedule weekly: 0 4 * * 1 Europe/Berlin")
    ]
    ridgeway("run", "retraining", "--detach")
    rows = json.loads(ridgeway("list", "--json")[1])["running"]
    assert (rows[0]["run"], rows[0]["state"]) == (f"retraining/{project.name}", "queued")
    out = ridgeway("list", "flows")[1]
    assert re.search(
        rf"^tell +flows/tell\.py +{commit} +\d{{4}}-\d\d-\d\d 0[23]:00 +0 4 \* \* 1 Europe/Berlin", out, re.MULTILINE
    )
    (project.root / "flows" / "retraining.py").unlink()
    assert "published, and no longer in the tree" in ridgeway("list", "flows")[1]


def test_list_goes_on_where_the_server_is_away(ridgeway: Command, project: Project) -> None:
    code, out, err = ridgeway("list", "flows", "--set", "servers.prefect=http://127.0.0.1:9/api")
    assert (code, out.splitlines()[0].split()) == (0, ["flow", "file", "about"])
    assert err.startswith("what is published cannot be told: the Prefect server does not answer")


# ---- flows that cannot be published ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("tell", "from prefect import flow\nimport nowhere\n", "cannot run flows/tell.py"),
        ("tell", "def (", "cannot run flows/tell.py"),
        ("tidy", "from flows.tell import tell\n", "flows/tidy.py has no flow 'tidy'"),
        (
            "tidy",
            "from prefect import flow\n@flow(name='tell')\ndef tidy(): ...\n",
            "two flows are called 'tell'",
        ),
        (
            "tidy",
            "from prefect import flow\n@flow(name='Nightly')\ndef tidy(): ...\n",
            "the flow of flows/tidy.py is called 'Nightly'",
        ),
    ],
)
def test_one_clear_message_each(name: str, text: str, message: str, ridgeway: Command, project: Project) -> None:
    (project.root / "flows" / f"{name}.py").write_text(text, encoding="utf-8")
    commit_all(project.root)
    code, _, err = ridgeway("publish", "--plan")
    assert code == 2
    assert f"error: {message}" in err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("times = 2", "tmies = 2", "setting schedules.weekly.parameters does not fit the flow tell"),
        ("0 4 * * 1", "0 4 30 2 *", "setting schedules.weekly.cron has a wrong value"),
        ("0 4 * * 1", "0 4 * * 5L", "setting schedules.weekly.cron is nothing that Prefect understands"),
        ('flow = "tell"', 'flow = "tel"', "setting schedules.weekly.flow has a wrong value"),
    ],
)
def test_a_schedule_that_does_not_fit(old: str, new: str, message: str, ridgeway: Command, project: Project) -> None:
    """Of the commit that is to be published: the tree in front of one may be right."""
    settings = project.root / "ridgeway.toml"
    right = settings.read_text(encoding="utf-8")
    settings.write_text(right.replace(old, new), encoding="utf-8")
    commit_all(project.root)
    settings.write_text(right, encoding="utf-8")
    code, _, err = ridgeway("publish", "--allow-dirty")
    assert code == 2
    assert f"error: {message}" in err


def test_a_flow_file_that_ends_python(ridgeway: Command, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the process of its own that it ends; ours says which file it was."""
    from ridgeway.orchestrator.publication.flows import look

    monkeypatch.setattr("ridgeway.actions.publication.look", look)
    (project.root / "flows" / "tell.py").write_text("import os\nprint('bye')\nos._exit(3)\n", encoding="utf-8")
    commit_all(project.root)
    code, _, err = ridgeway("publish")
    assert code == 2
    assert "error: importing flows/tell.py ended Python" in err
    assert Path(err.partition("  where     ")[2].partition("\n")[0]).name == "tell.py"
    assert "exit code 3" in err
