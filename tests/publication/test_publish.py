"""Publishing on a real server: what is sent, what is not, and what is left when it is cut off."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ridgeway.actions import publication as actions
from ridgeway.artifacts import Change, Publication, Schedule
from ridgeway.errors import Unreachable, UsageError
from ridgeway.orchestrator import rest
from ridgeway.orchestrator.publication import applying
from ridgeway.project import Project, open_project
from tests.publication.toy import commit_all, eventually, git, open_at, write_flow

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("looked_here")]
Known = Callable[[], Publication]
READS = re.compile(r"/(filter|count|paginate)$")


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The requests that can change something, as they are sent."""
    sent: list[str] = []
    real = rest.send

    def send(method: str, url: str, *arguments: Any, **keywords: Any) -> Any:
        if method != "GET" and not READS.search(url):
            sent.append(f"{method} /{url.partition('/api/')[2]}")
        return real(method, url, *arguments, **keywords)

    monkeypatch.setattr(rest, "send", send)
    return sent


def test_the_same_commit_twice_sends_nothing_that_changes_anything(
    project: Project, known: Known, writes: list[str], looked_here: list[Path]
) -> None:
    commit = git(project.root, "rev-parse", "HEAD")
    planned = actions.publish(project, only_plan=True)
    assert [change.verb for change in planned.changes] == ["create", "create"]
    assert writes == []
    assert known().flows == ()
    first = actions.publish(project)
    assert first.changes == planned.changes
    assert [name.replace("POST ", "") for name in writes if "pool" not in name] == ["/flows/", "/deployments/"] * 2
    assert known() == first.publication
    assert known().commit == commit
    assert [flow.deployment for flow in known().flows] == [f"retraining/{project.name}", f"tell/{project.name}"]
    assert known().flow("tell").schedules == (  # type: ignore[union-attr]
        Schedule("weekly", "0 4 * * 1", "Europe/Berlin", "skip", "once", {"times": 2}),
    )
    writes.clear()
    second = actions.publish(project)
    assert (second.changes, writes) == ((), [])
    assert second.sentence == f"unchanged: the flows of {project.name} are published from commit {commit[:12]}"
    assert len(looked_here) == 1  # a commit is looked at once


def test_an_edited_tree_is_refused_and_a_new_commit_moves_all_flows(project: Project, known: Known) -> None:
    first = actions.publish(project).publication.commit
    (project.root / "steps" / "text.py").write_text('TEXT = "second"\n', encoding="utf-8")
    (project.root / "new.txt").write_text("new", encoding="utf-8")
    with pytest.raises(UsageError) as refused:
        actions.publish(project)
    assert refused.value.problem == "steps/text.py\nnew.txt"
    done = actions.publish(project, allow_dirty=True)
    assert (done.changes, done.left_out) == ((), ("steps/text.py", "new.txt"))
    second = commit_all(project.root)
    done = actions.publish(project)
    move = f"commit {first[:12]} → {second[:12]}"
    assert done.changes == (Change("change", "retraining", (move,)), Change("change", "tell", (move,)))
    assert known().commit == second
    assert actions.publish(project, commit=first[:10]).publication.commit == first
    assert known().commit == first


def test_a_flow_that_is_gone_goes_and_a_schedule_that_is_changed_changes(project: Project, known: Known) -> None:
    actions.publish(project)
    (project.root / "flows" / "retraining.py").unlink()
    settings = project.root / "ridgeway.toml"
    settings.write_text(settings.read_text().replace("0 4 * * 1", "30 4 * * *"), encoding="utf-8")
    commit_all(project.root)
    done = actions.publish(open_at(project.root, project.settings.servers.prefect))
    assert [change.sentence.partition(": commit")[0] for change in done.changes] == [
        "change tell", "remove retraining: it is no longer in the tree",
    ]  # fmt: skip
    assert "schedule weekly: 0 4 * * 1 Europe/Berlin → 30 4 * * * Europe/Berlin" in done.changes[0].sentence.replace(
        ", overlap skip, missed once, {'times': 2}", ""
    )
    assert [flow.flow for flow in known().flows] == ["tell"]
    assert actions.publish(open_at(project.root, project.settings.servers.prefect)).changes == ()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["before", "after"])
def test_cut_off_between_any_two_requests_leaves_whole_flows_and_the_same_again_completes_it(
    kind: str, root: Path, server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a kill at that moment would: nothing of ours runs afterwards, and the server has had the request, or not."""

    class Killed(BaseException):
        pass

    project = open_at(root, server_url)
    first = actions.publish(project).publication
    (root / "flows" / "tell.py").unlink()
    write_flow(root, "other")
    settings = root / "ridgeway.toml"
    settings.write_text(settings.read_text().replace('flow = "tell"', 'flow = "other"'), encoding="utf-8")
    second = commit_all(root)
    project, real = open_at(root, server_url), rest.send
    cuts, was_cut = 0, True
    for allowed in range(10):
        if not was_cut:
            break
        sent = 0

        def send(method: str, url: str, *arguments: Any, limit: int = allowed, **keywords: Any) -> Any:
            nonlocal sent
            writes = method != "GET" and not READS.search(url)
            if writes and kind == "before" and sent >= limit:
                raise Killed
            answer = real(method, url, *arguments, **keywords)
            sent += writes
            if writes and kind == "after" and sent > limit:
                raise Killed
            return answer

        monkeypatch.setattr(rest, "send", send)
        was_cut = False
        try:
            actions.publish(project)
        except Killed:
            cuts, was_cut = cuts + 1, True
        finally:
            monkeypatch.setattr(rest, "send", real)
        found = applying.read(applying.Door(server_url), project.name)
        for flow in found.flows:  # each as of one of the two commits, whole
            assert flow.origin.commit in (first.commit, second)
            assert flow in first.flows or flow.origin.commit == second
            assert flow.entrypoint == f"flows/{flow.flow}.py:{flow.flow}"
        actions.publish(project)
        found = applying.read(applying.Door(server_url), project.name)
        assert ([flow.flow for flow in found.flows], found.commit) == (["other", "retraining"], second)
        actions.publish(project, commit=first.commit)  # back, for the next cut
        assert applying.read(applying.Door(server_url), project.name) == first
    assert cuts == 5  # flow, deployment, flow, deployment, and what is removed


def test_a_broken_flow_leaves_the_previous_publication_as_it_is(
    project: Project, known: Known, writes: list[str]
) -> None:
    before = actions.publish(project).publication
    writes.clear()
    (project.root / "flows" / "tell.py").write_text("from prefect import flow\nimport nowhere\n", encoding="utf-8")
    commit_all(project.root)
    with pytest.raises(UsageError) as broken:
        actions.publish(project)
    assert broken.value.summary == "cannot run flows/tell.py"
    assert broken.value.where.endswith("/flows/tell.py:2")
    assert (known(), writes) == (before, [])


def test_what_a_person_paused_stays_paused(project: Project, known: Known, server_url: str) -> None:
    actions.publish(project)
    flow = known().flow("tell")
    assert flow is not None
    rest.send("POST", f"{server_url}/deployments/{flow.id}/pause_deployment", {})
    commit_all(project.root)
    actions.publish(project)
    assert rest.call(f"{server_url}/deployments/{flow.id}")["paused"] is True


def test_schedules_are_taken_up_by_the_server_with_what_they_carry(project: Project, server_url: str) -> None:
    from ridgeway.actions.coming import outlook

    actions.publish(project)
    seen = eventually(lambda: outlook(project).runs)
    assert {(run.flow, run.schedule, run.state) for run in seen} == {("tell", "weekly", "Scheduled")}
    run = rest.call(f"{server_url}/flow_runs/{seen[0].flow_run_id}")
    assert run["parameters"] == {"times": 2}
    assert (run["labels"]["ridgeway.overlap.weekly"], run["labels"]["ridgeway.missed.weekly"]) == ("skip", "once")


# ---- what is refused -------------------------------------------------------------------------------------------------


def test_an_unknown_work_pool_is_found_before_anything_is_sent(
    project: Project, writes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "POOL", "nowhere")
    with pytest.raises(UsageError) as refused:
        actions.publish(project)
    assert refused.value.summary == "there is no work pool 'nowhere' on the Prefect server"
    assert "ridgeway" in refused.value.expected
    assert writes == []


def test_a_server_of_another_version_is_refused(
    project: Project, writes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(applying, "version", lambda _: "3.99.1")
    with pytest.raises(UsageError, match="is of another version") as refused:
        actions.publish(project)
    assert re.fullmatch(r"it is 3\.8\.\d+, and this project's Prefect is 3\.99\.1", refused.value.problem)
    monkeypatch.setattr(applying, "version", lambda _: "2.20.1")
    with pytest.raises(UsageError, match="is of another version"):
        actions.publish(project)
    assert writes == []


def test_a_server_that_does_not_answer(root: Path) -> None:
    with pytest.raises(Unreachable, match="does not answer"):
        actions.publish(open_project(root, overrides=["servers.prefect=http://127.0.0.1:9/api"]))


def test_without_a_server_that_lasts_the_next_step_is_up(root: Path) -> None:
    with pytest.raises(UsageError) as refused:
        actions.publish(open_project(root))
    assert refused.value.next_step == "ridgeway up --detach"


def test_ensure_published_publishes_once(project: Project, known: Known) -> None:
    (project.root / "new.txt").write_text("new", encoding="utf-8")
    done = actions.ensure_published(project)
    assert done is not None
    assert done.left_out == ("new.txt",)
    assert known() == done.publication
    assert actions.ensure_published(project) is None


def test_a_job_of_ci_publishes_for_workers_elsewhere(project: Project, known: Known) -> None:
    git(project.root, "remote", "add", "origin", "https://someone:token-9@git.example/team/toy.git")
    actions.publish(project, ci=True)
    origin = known().flows[0].origin
    assert (origin.repository, origin.home) == ("https://git.example/team/toy.git", "")


# ---- as a program ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command(project: Project, server_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own, with the process of its own that imports flows."""
    monkeypatch.undo()
    (project.root / "flows" / "tell.py").write_text(
        (project.root / "flows" / "tell.py").read_text() + "\nprint('at import')\n", encoding="utf-8"
    )
    commit = commit_all(project.root)
    told = [sys.executable, "-c", "import ridgeway.cli as c; c.main()", "publish", "--set"]
    done = subprocess.run(
        [*told, f"servers.prefect={server_url}"], cwd=project.root, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{project.name} is published from commit {commit[:12]}: retraining, tell\n"
