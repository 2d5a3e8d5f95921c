"""Projects whose models are released: settings of operations outside of the tree, ports of their own, and clients."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ridgeway.actions.models import open_registry
from ridgeway.artifacts import Approval, Release
from ridgeway.project import open_project
from ridgeway.registry.releases import Releases
from tests.story.conftest import FEW_COLUMNS, Ended, Story, copied

ROW = [50, 1, 26.0]
"""Age, sex and body mass index of nobody."""
SECOND = ("run", "retraining", "--set", FEW_COLUMNS, "--set", "rules.refresh=true", "--set")
QUICK = 'probe = { rows = 20, p50_ms = 1000, p99_ms = 5000, load_seconds = 0.2, load_on = ["qa"] }'
PLAIN = """
[targets.qa]
kind = "process"
address = "http://127.0.0.1:{qa}"
rollout = {{ deadline_seconds = 60, bake_seconds = 0 }}
[targets.production]
kind = "process"
address = "http://127.0.0.1:{production}"
rollout = {{ deadline_seconds = 60, bake_seconds = 0.6 }}
"""


@dataclass(frozen=True)
class ReleaseStory(Story):
    """A project with two registered models of the same columns, and two targets that are processes."""

    operations: Path = Path()
    ports: dict[str, int] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """What each command finds: operations' settings."""
        return {"RIDGEWAY_OPERATIONS": str(self.operations)}

    def ridgeway(self, *arguments: str | Path, **environment: str) -> Ended:
        """What a command came to, with operations' settings in force."""
        return super().ridgeway(*arguments, **{**self.environment, **environment})

    def release(self, number: int, *arguments: str) -> Ended:
        """A release of a model, as far as it comes."""
        return self.ridgeway("run", "release", f"models:/{self.name}/{number}", *arguments)

    def approve(self, number: int, *arguments: str) -> Ended:
        """A yes to a release, and what came of it."""
        return self.ridgeway("approve", self.handle(number), *arguments)

    def released(self, number: int) -> Release:
        """The finished record of a release that was started, approved and rolled out."""
        asked = self.release(number)
        assert asked.code == 5, asked.err
        done = self.ridgeway("approve", asked.line)
        assert done.code == 0, done.err
        return self.record(int(asked.line.rpartition("/")[2]))

    def handle(self, number: int) -> str:
        """Of a release."""
        return f"releases:/{self.name}/{number}"

    # ---- looking behind ----------------------------------------------------------------------------------------------

    @property
    def registry(self) -> Any:
        """Of the project."""
        return open_registry(open_project(self.root))

    def records(self) -> list[Release]:
        """All releases, the latest first."""
        return Releases(self.registry).latest(1000)

    def record(self, number: int) -> Release:
        """One release."""
        return Releases(self.registry).read(number)

    def approvals(self, number: int) -> tuple[Approval, ...]:
        """All that was said about a release."""
        releases = Releases(self.registry)
        return releases.approvals(releases.read(number))

    def champion(self) -> int | None:
        """Number of the champion; None where there is none."""
        found = self.registry.by_alias("champion")
        return found.number if found else None

    def endpoint(self, target: str = "production") -> dict[str, Any]:
        """What ``show`` says of a target."""
        shown = self.ridgeway("show", target, "--json")
        assert shown.code == 0, shown.err
        found: dict[str, Any] = json.loads(shown.out)
        return found

    def generation(self, target: str = "production") -> int:
        """How often something was asked for on a target that is a process."""
        file = self.root / ".ridgeway" / "targets" / target / "wanted.json"
        return int(json.loads(file.read_text())["generation"]) if file.exists() else 0

    def key(self, target: str = "production") -> str:
        """The primary key of a target."""
        return (self.root / ".ridgeway" / "targets" / target / "keys" / "primary").read_text()

    def predicted(self, number: int) -> float:
        """What a model says of ``ROW``, asked as scikit-learn."""
        import pandas as pd

        estimator = self.registry.load_model(self.registry.version(number).run_id)
        return float(estimator.predict(pd.DataFrame([ROW], columns=["age", "sex", "bmi"]))[0])

    def answered(self, target: str = "production") -> tuple[str, float]:
        """Which model a target answers with, and what."""
        return ask(self.ports[target], self.key(target))

    def serves(self, number: int) -> bool:
        """Whether production answers with this model, as it was trained, and is known to."""
        handle = f"models:/{self.name}/{number}"
        model, value = self.answered()
        near = abs(value - self.predicted(number)) < 1e-6
        return (model, near, self.endpoint()["model"]) == (f"{self.name}/{number}", True, handle)


def ask(port: int, key: str) -> tuple[str, float]:
    """The model that answered, and its answer to ``ROW``."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        return _asked(connection, key)
    finally:
        connection.close()


def _asked(connection: http.client.HTTPConnection, key: str) -> tuple[str, float]:
    connection.request("POST", "/score", json.dumps({"data": [ROW]}), {"Authorization": f"Bearer {key}"})
    response = connection.getresponse()
    model, body = response.headers.get("Ridgeway-Model", ""), response.read()
    assert response.status == 200, body
    return model, float(json.loads(body)["result"][0])


@dataclass
class Clients:
    """Clients that ask production all the time, on kept and on new connections, and check every answer."""

    story: ReleaseStory
    expected: dict[str, float]
    """Model → its answer."""
    right: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Clients:
        self.port, self.key = self.story.ports["production"], self.story.key()
        self._threads = [
            threading.Thread(target=self._ask, args=(pause, keep))
            for pause, keep in ((0.0, True), (0.01, True), (0.2, True), (0.01, False))
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, pause: float, keep: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        while not self.stop.wait(pause or 0.001):
            try:
                model, value = _asked(connection, self.key)
                assert abs(value - self.expected[model]) < 1e-6, (model, value)
                self.right[model] = self.right.get(model, 0) + 1
            except (OSError, http.client.HTTPException, AssertionError, KeyError) as error:
                self.failures.append(repr(error))
                connection.close()
            if not keep:
                connection.close()
        connection.close()


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def with_operations(story: Story, settings: str = PLAIN, **ports: int) -> ReleaseStory:
    """The same project with operations' settings in a file beside it."""
    chosen = ports or dict(zip(("qa", "production"), free_ports(2), strict=True))
    file = story.root.parent / f"operations-{story.root.name}.toml"
    file.write_text(settings.format(**chosen), encoding="utf-8")
    toml = story.path("ridgeway.toml")
    lines = toml.read_text(encoding="utf-8").splitlines()
    quick = [QUICK if line.startswith("probe = ") else line for line in lines]
    toml.write_text("\n".join(quick) + "\n", encoding="utf-8")
    return ReleaseStory(story.root, story.name, file, chosen)


def two_models(first: Story, folder: Path) -> ReleaseStory:
    """A copy of the project with a second model of the same columns."""
    server = first.root / ".ridgeway" / "prefect"
    story = with_operations(Story(copied(first.root, folder / "diabetes", server=server)))
    trained = story.ridgeway(*SECOND, "training.parameters={alpha = 1.05}")
    assert (trained.code, trained.line) == (0, "models:/diabetes/2"), trained.err
    return story


def another(source: ReleaseStory, folder: Path, settings: str = PLAIN) -> ReleaseStory:
    """A copy of a project of which nothing runs, with ports of its own."""
    assert not (source.root / ".ridgeway" / "targets").exists()
    root = copied(source.root, folder / "diabetes", server=source.root / ".ridgeway" / "prefect")
    return with_operations(Story(root, source.name), settings)


@contextlib.contextmanager
def put_away(story: ReleaseStory) -> Iterator[ReleaseStory]:
    """The story; at its end nothing of it runs, whatever became of it. The server, which others use, stays."""
    from ridgeway.targets import process

    try:
        yield story
    finally:
        os.environ["RIDGEWAY_OPERATIONS"] = str(story.operations)
        try:
            process.stop_all(open_project(story.root))
        finally:
            del os.environ["RIDGEWAY_OPERATIONS"]
