"""Example records, each from a small simulation through the real nouns, and a browser to look at pages with."""

from __future__ import annotations

import base64
import fcntl
import json
import math
import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import pytest

from ridgeway.artifacts import (
    Candidate,
    Column,
    DataReport,
    Dataset,
    Expectation,
    KeyRule,
    ModelVersion,
    PowerAdvice,
    SetEvidence,
    SliceEvidence,
    Verdict,
)
from ridgeway.report import Findings, RunInfo, SealedRows, Step, build_record, plot_data

FEATURES = tuple(Column(name, "number") for name in ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"))
SHA = "sha256:" + "9c41d27a5be08f36" * 4
OTHER_SHA = "sha256:" + "07fe31b2c88d4a95" * 4
RUN = "3f2a9c1e7d5b4a6088c2e4f60718293a"


def quantile(probability: float, rows: int) -> float:
    """Student's t by the first Cornish-Fisher term: scipy.stats alone would cost these tests three seconds."""
    z = NormalDist().inv_cdf(probability)
    return z + (z**3 + z) / (4 * (rows - 1))


def set_evidence(
    name: Literal["sealed", "recent"], opponent: np.ndarray, candidate: np.ndarray, level: float = 0.005
) -> SetEvidence:
    gains = opponent - candidate
    n, deviation = gains.size, float(gains.std(ddof=1))
    step = deviation / math.sqrt(n)
    return SetEvidence(
        name=name,
        rows=n,
        opponent_loss=float(opponent.mean()),
        candidate_loss=float(candidate.mean()),
        gain=float(gains.mean()),
        gain_deviation=deviation,
        lower=float(gains.mean()) - quantile(1 - level, n) * step,
        upper=float(gains.mean()) + quantile(0.95, n) * step,
        level=level,
        usable=n >= 30,
        largest_share=float(np.abs(gains).max() / np.abs(gains).sum()),
    )


def slice_evidence(name: str, opponent: np.ndarray, candidate: np.ndarray, alpha: float) -> SliceEvidence:
    gains = opponent - candidate
    n, harm = gains.size, -0.05 * float(opponent.mean())
    p = 1.0
    if n >= 30:
        p = NormalDist().cdf((float(gains.mean()) - harm) / (float(gains.std(ddof=1)) / math.sqrt(n)))
    return SliceEvidence(name, n, float(opponent.mean()), float(gains.mean()), p, p < alpha)


def dataset(rows: int = 442, name: str = "diabetes") -> Dataset:
    return Dataset(name, SHA, rows, (*FEATURES, Column("progression", "integer")), f"data/{name}.csv")


def data_report(*found: Expectation) -> DataReport:
    met = (
        [Expectation("expect_column_to_exist", column.name, "pass", "present", "present") for column in FEATURES]
        + [
            Expectation("expect_column_values_to_not_be_null", column.name, "pass", "0 missing", "none missing")
            for column in FEATURES
        ]
        + [
            Expectation("expect_table_row_count_to_be_between", "", "pass", "442", "at least 150"),
            Expectation("expect_column_values_to_be_between", "bp", "pass", "62 to 133", "40 to 200"),
        ]
    )
    return DataReport(dataset().handle, OTHER_SHA, (*met[:6], *found, *met[6:]))


SHIFT = Expectation(
    "expect_column_mean_to_have_stayed",
    "bmi",
    "warn",
    "mean 27.6",
    "mean 26.4 ± 4.4",
    reason="the mean moved by 0.28 standard deviations (p = 0.0004): found, recorded with the model, and not refused",
)
WRONG_UNIT = Expectation(
    "expect_column_values_to_be_between",
    "bmi",
    "fail",
    "180 to 422",
    "15 to 60",
    unexpected_rows=442,
    first_rows=(1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
    reason="every value is about ten times too large: a different unit, or a decimal point that was lost",
)
BROKEN_SOURCE = Expectation(
    "expect_column_mean_to_have_stayed",
    "bmi",
    "fail",
    "mean 264",
    "mean 26.4 ± 4.4",
    reason="the mean moved by 54 standard deviations; from one on, units or the source are taken to be wrong",
)


def candidate(**changes: Any) -> Candidate:
    return replace(
        Candidate(
            run_id=RUN,
            name="diabetes",
            digest="sha256:" + "5be08f369c41d27a" * 4,
            inputs=OTHER_SHA,
            dataset=dataset().handle,
            key=KeyRule(FEATURES, "", 0.2),
            task="regression",
            features=FEATURES,
            label="progression",
            classes=(),
            parameters={"alpha": 1.0},
            seed=0,
            training_rows=354,
            sealed_rows=88,
            out_of_fold=10,
            metrics={"r2": 0.472, "mean_squared_error": 2933.1},
        ),
        **changes,
    )


def run_info(outcome: str, sentence: str, next_step: str, **changes: Any) -> RunInfo:
    return replace(
        RunInfo(
            run_id=RUN,
            flow="retraining",
            project="diabetes",
            started_at="2026-03-02T04:00:00Z",
            ended_at="2026-03-02T04:00:12.400Z",
            outcome=outcome,
            sentence=sentence,
            next_step=next_step,
            commit="8f14e45fceea167a5a36dedd4bea2543a1b2c3d4",
            clean=True,
            environment="sha256:" + "a5be08f307fe31b2" * 4,
            seed=0,
            settings={
                "data.source": "data/diabetes.csv",
                "data.holdout": 0.2,
                "training.parameters": {"alpha": 1.0},
                "rules.slices": {"women": "sex == 2", "older": "age >= 60"},
                "servers.database": "postgresql://ridgeway:hunter2@db.example/prefect",
            },
            steps=(
                Step("load_data", 0.042, "reused"),
                Step("check_data", 1.31),
                Step("train_model", 6.2),
                Step("judge_candidate", 0.9),
                Step("register_model", 2.8, attempts=2),
            ),
        ),
        **changes,
    )


class Regression:
    """Diabetes-like rows with two models on them, and the numbers a judgement of them rests on."""

    def __init__(self, *, sealed: int = 88, recent: int = 40, gain: float = 0.15, harm: float = 0.0, seed: int = 7):
        random = np.random.default_rng(seed)
        total = sealed + recent
        signal = random.normal(152, 56, total)
        self.actual = np.clip(signal + random.normal(0, 54, total), 25, 346).round()
        self.women, self.older = random.random(total) < 0.47, random.random(total) < 0.42
        self.candidate = 152 + 0.8 * (signal - 152) + random.normal(0, 6, total)
        noise = random.normal(0, 54 * math.sqrt(gain), total) + random.normal(0, 6, total)
        self.opponent = self.candidate + noise
        self.candidate = self.candidate + self.older * harm
        self.sealed = np.arange(total) < sealed
        self.candidate_loss = (self.actual - self.candidate) ** 2
        self.opponent_loss = (self.actual - self.opponent) ** 2

    def sets(self) -> tuple[SetEvidence, ...]:
        masks: dict[Literal["sealed", "recent"], np.ndarray] = {"sealed": self.sealed, "recent": ~self.sealed}
        return tuple(
            set_evidence(name, self.opponent_loss[mask], self.candidate_loss[mask])
            for name, mask in masks.items()
            if mask.sum() > 1
        )

    def slices(self) -> tuple[SliceEvidence, ...]:
        masks = {"women": self.women & self.sealed, "older": self.older & self.sealed}
        return tuple(
            slice_evidence(name, self.opponent_loss[mask], self.candidate_loss[mask], 0.025)
            for name, mask in masks.items()
        )

    def rows(self) -> SealedRows:
        mask = self.sealed
        return SealedRows(
            actual=self.actual[mask],
            candidate=self.candidate[mask],
            opponent=self.opponent[mask],
            gains=(self.opponent_loss - self.candidate_loss)[mask],
            slices={"women": self.women[mask], "older": self.older[mask]},
        )

    def metrics(self, predictions: np.ndarray) -> dict[str, float]:
        errors = (self.actual - predictions)[self.sealed]
        return {
            "r2": float(1 - (errors**2).mean() / self.actual[self.sealed].var()),
            "mean_squared_error": float((errors**2).mean()),
            "mean_absolute_error": float(np.abs(errors).mean()),
        }

    def verdict(self, outcome: Literal["accept", "reject", "hold"], reason: str, sentence: str, **rest: Any) -> Verdict:
        return Verdict(
            outcome=outcome,
            reason=reason,
            sentence=sentence,
            next_step=rest.pop("next_step"),
            candidate=candidate().handle,
            candidate_digest=candidate().digest,
            opponent="models:/diabetes/1",
            opponent_digest=OTHER_SHA,
            key=candidate().key.digest,
            loss="squared_error",
            sets=self.sets(),
            slices=self.slices(),
            looks=3,
            candidate_metrics=self.metrics(self.candidate),
            opponent_metrics=self.metrics(self.opponent),
            **rest,
        )


def accepted() -> dict[str, Any]:
    data = Regression(gain=0.5, sealed=88, recent=24, seed=11)
    sealed = data.sets()[0]
    low, mid, high = (100 * value / sealed.opponent_loss for value in (sealed.lower, sealed.gain, sealed.upper))
    sentence = f"{mid:.0f} % better on 88 unseen rows, between {low:.0f} and {high:.0f} %: accepted"
    verdict = data.verdict(
        "accept",
        "superior_on_sealed",
        sentence,
        next_step="ridgeway run release models:/diabetes/2",
        advice=PowerAdvice(88, 428, 340, 235, 728, 17.0, 7.4, 32.0, 0.084),
    )
    version = ModelVersion(
        "diabetes",
        2,
        candidate().digest,
        RUN,
        dataset().handle,
        ("challenger",),
        {"verdict": "accept"},
        "2026-03-02T04:00:12Z",
    )
    run = run_info("accept", sentence, verdict.next_step, build_url="https://ci.example/build/17")
    findings = Findings(dataset(), data_report(SHIFT), candidate(), verdict, version)
    return build_record(run, findings, plots=plot_data(data.rows()))


def harmed() -> dict[str, Any]:
    data = Regression(gain=0.3, sealed=420, recent=130, harm=60.0, seed=5)
    older = data.slices()[1]
    worse = -100 * older.gain / older.opponent_loss
    sentence = f"worse on older: {worse:.0f} % worse on {older.rows} unseen rows (p = {older.p_value:.1g}): rejected"
    verdict = data.verdict(
        "reject",
        "slice_harm",
        sentence,
        next_step="bring more rows of that slice into training, or features that tell it apart",
        warnings=("look number 53 at this holdout: switch on rules.strict for a search by hand",),
    )
    found = Findings(dataset(2100), data_report(), candidate(sealed_rows=420), verdict)
    return build_record(
        run_info("reject", sentence, verdict.next_step, clean=False), found, plots=plot_data(data.rows())
    )


def held() -> dict[str, Any]:
    data = Regression(gain=0.06, sealed=88, recent=21, seed=3)
    sentence = "not enough data to tell (10 % better on 88 unseen rows, between 4.7 % worse and 19 % better): held"
    verdict = data.verdict(
        "hold",
        "not_enough_data",
        sentence,
        next_step="bring about 340 more rows, 17 weeks at the present inflow, and run the same command again",
        advice=PowerAdvice(88, 428, 340, 235, 728, 17.0, 7.4, 32.0, 0.084),
    )
    found = Findings(dataset(), data_report(SHIFT), candidate(), verdict)
    return build_record(run_info("hold", sentence, verdict.next_step), found, plots=plot_data(data.rows()))


def classified() -> dict[str, Any]:
    random = np.random.default_rng(2)
    n = 1500
    score = random.normal(-1, 1.4, n)
    truth = random.random(n) < 1 / (1 + np.exp(-score))
    ours = 1 / (1 + np.exp(-(score + random.normal(0, 0.4, n))))
    theirs = 1 / (1 + np.exp(-(0.45 * score + random.normal(0, 0.8, n))))
    losses = [-np.log(np.where(truth, p, 1 - p)) for p in (theirs, ours)]
    monthly = random.random(n) < 0.4
    evidence = (set_evidence("sealed", *losses),)
    sentence = f"{100 * evidence[0].gain / evidence[0].opponent_loss:.0f} % better on 1,500 unseen rows: accepted"
    labels = np.where(truth, "yes", "no")
    rows = SealedRows(
        labels,
        np.column_stack([1 - ours, ours]),
        np.column_stack([1 - theirs, theirs]),
        losses[0] - losses[1],
        {"monthly contract": monthly, "yearly contract": ~monthly},
        ("no", "yes"),
    )
    model = candidate(name="churn", task="classification", label="churned", classes=("no", "yes"), sealed_rows=n)
    verdict = Verdict(
        "accept", "beats_mean", sentence, "ridgeway run release models:/churn/1", model.handle, model.digest,
        "models:/churn/3", OTHER_SHA, model.key.digest, "log_loss", evidence,
        (
            slice_evidence("monthly contract", losses[0][monthly], losses[1][monthly], 0.025),
            slice_evidence("yearly contract", losses[0][~monthly], losses[1][~monthly], 0.025),
        ),
        looks=1,
        candidate_metrics={"log_loss": float(losses[1].mean()), "accuracy": float(((ours > 0.5) == truth).mean())},
        opponent_metrics={"log_loss": float(losses[0].mean()), "accuracy": float(((theirs > 0.5) == truth).mean())},
    )  # fmt: skip
    found = Findings(dataset(7500, "churn"), data_report(), model, verdict)
    run = run_info("accept", sentence, verdict.next_step, project="churn")
    return build_record(run, found, plots=plot_data(rows))


def refused() -> dict[str, Any]:
    report = data_report(BROKEN_SOURCE, SHIFT, WRONG_UNIT)
    run = run_info(
        "bad_data",
        "data/diabetes.csv is refused: 2 of 25 expectations fail, both on bmi",
        "put bmi back into kg/m², or take the new distribution as reference: "
        "ridgeway profile data/diabetes.csv --rebase --reason TEXT",
        ended_at="2026-03-02T04:00:01.900Z",
        steps=(Step("load_data", 0.042), Step("check_data", 1.31, "failed")),
    )
    return build_record(run, Findings(dataset(), report))


def hostile() -> dict[str, Any]:
    """Every text that comes from data or settings tries to become something else than text."""
    evil = "<script>alert(1)</script><img src=http://evil.example/x onerror=alert(1)>"
    long = "a_column_with_a_name_that_never_ends_" * 8
    colours = chr(27) + "[31mred" + chr(0x202E) + "reversed" + chr(0)
    link = "![x](http://evil.example/x.png) [click](javascript:alert(1)) `a|b` @someone {{ 7*7 }} {% raw %}"
    data = Regression(sealed=60, recent=0)
    slices = tuple(replace(each, name=name) for each, name in zip(data.slices(), (evil, long), strict=True))
    verdict = replace(
        data.verdict(
            "hold", "not_enough_data", f"{evil} {link}", next_step=f"{colours} --{long}", warnings=(evil, link)
        ),
        slices=slices,
        opponent=f"models:/{long}/1",
    )
    rows = replace(data.rows(), slices={evil: data.women, long: data.older})
    expectations = (
        Expectation("expect_" + long, evil, "warn", colours, link, 3, (1, 2, 3), reason=evil),
        Expectation("expect_" + evil, long, "pass", link, colours, reason=link),
    )
    columns = (Column(evil, "string"), Column(long, "number"), Column(colours, "string"), Column(link, "string"))
    found = Findings(
        Dataset(evil, SHA, 60, columns, f"/data/{long}.csv"),
        DataReport("data://x@" + SHA, OTHER_SHA, expectations),
        candidate(label=evil, features=columns),
        verdict,
    )
    run = run_info(
        "hold", f"{evil} {link} {colours}", f"{colours} --{long}", project=evil, build_url="javascript:alert(1)"
    )
    run = replace(run, settings={evil: link, long: colours}, steps=(Step(evil, 1.0), Step(long, float("nan"))))
    return build_record(run, found, plots=plot_data(rows))


EXAMPLES: dict[str, Callable[[], dict[str, Any]]] = {
    "accepted": accepted,
    "harmed": harmed,
    "held": held,
    "classified": classified,
    "refused": refused,
    "hostile": hostile,
}


@pytest.fixture(scope="session")
def examples() -> dict[str, dict[str, Any]]:
    """One record for each way a retraining ends."""
    return {name: build() for name, build in EXAMPLES.items()}


@pytest.fixture(params=EXAMPLES)
def example(request: pytest.FixtureRequest, examples: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Each example in turn."""
    return examples[request.param]


# Debian's Chromium is `chromium`; others on the path serve as well.
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    # Network off: no name resolves, and an address would have to pass a proxy that is not there.
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--proxy-server=127.0.0.1:9",
    "--remote-debugging-pipe",
)
# The browser reads commands from descriptor 3 and answers on 4.
PLUMBING = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execvp(sys.argv[3], sys.argv[3:])"
)
TROUBLE = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")


class Browser:
    """A headless Chromium without a network, spoken to over two pipes in the Chrome DevTools Protocol."""

    def __init__(self, program: str, profile: str) -> None:
        commands, ours = os.pipe()
        answers, theirs = os.pipe()
        # Above nine, so that moving one to 3 or 4 cannot overwrite the other.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (commands, theirs)]
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-SEc",
                PLUMBING,
                *map(str, ends),
                program,
                *BROWSER_OPTIONS,
                f"--user-data-dir={profile}",
            ],
            pass_fds=ends,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (*ends, commands, theirs):
            os.close(end)
        self.ours, self.answers = ours, answers
        self.unread = b""
        self.number = 0
        self.session = ""
        self.events: list[dict[str, Any]] = []
        # A page of our own: the first one still loads the browser's start page.
        page = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.ours, json.dumps(message).encode() + b"\0")
        while (answer := self.receive()).get("id") != self.number:
            self.events.append(answer)
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def receive(self) -> dict[str, Any]:
        while b"\0" not in self.unread:
            assert select.select([self.answers], [], [], 60)[0], "the browser has not answered within 60 seconds"
            piece = os.read(self.answers, 1 << 20)
            assert piece, "the browser has ended"
            self.unread += piece
        message, self.unread = self.unread.split(b"\0", 1)
        answer: dict[str, Any] = json.loads(message)
        return answer

    def open(self, address: str, *, width: int, scheme: str = "light", media: str = "") -> None:
        """Load a page and wait until it has loaded; ``events`` holds what happened meanwhile."""
        self.events = []
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=media, features=features)
        self.call("Page.navigate", url=address)
        while not self._has_loaded(address):
            self.events.append(self.receive())

    def _has_loaded(self, address: str) -> bool:
        """Only a load event after the navigation counts: that of the page before may still be under way."""
        methods = [event.get("method") for event in self.events]
        arrived = [
            place
            for place, event in enumerate(self.events)
            if event.get("method") == "Page.frameNavigated" and event["params"]["frame"]["url"] == address
        ]
        return bool(arrived) and "Page.loadEventFired" in methods[arrived[0] :]

    def happened(self, *methods: str) -> list[dict[str, Any]]:
        return [event["params"] for event in self.events if event.get("method") in methods]

    def ask(self, expression: str) -> Any:
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def pdf(self) -> bytes:
        return base64.b64decode(self.call("Page.printToPDF", printBackground=True, preferCSSPageSize=True)["data"])

    def close(self) -> None:
        self.session = ""
        try:
            self.call("Browser.close")
            self.process.wait(timeout=20)
        finally:
            self.process.kill()
            self.process.wait()
            os.close(self.ours)
            os.close(self.answers)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser for all tests of a session; without one on the path they are skipped."""
    program = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium on the path: apt-get install chromium")
    # Chromium's children may still write into the profile while it is removed.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        found = Browser(program, profile)
        yield found
        found.close()
