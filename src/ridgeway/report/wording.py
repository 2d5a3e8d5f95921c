"""The words and number formats that terminal, page and Markdown share. Pure; imports no third-party package."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ridgeway.artifacts import DataReport, PowerAdvice, SetEvidence, SliceEvidence


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The settings of the judgement that the renderings show."""

    worthwhile: float = 0.01
    """The least gain that is worth a promotion, as a share of the opponent's loss: the second line of every plot."""
    minimum_rows: int = 30
    """A slice counts from this many rows."""

    @property
    def worthwhile_words(self) -> str:
        """The worthwhile gain in percent, without a sign."""
        return f"{self.worthwhile * 100:.3g} %"


def thresholds_of(record: Mapping[str, Any]) -> Thresholds:
    """The thresholds that a run was judged with, the defaults where its settings do not say.

    Example:
        >>> thresholds_of({"settings": {"rules.worthwhile": 0.02}})
        Thresholds(worthwhile=0.02, minimum_rows=30)
    """
    usual, settings = Thresholds(), record.get("settings") or {}
    share, rows = settings.get("rules.worthwhile"), settings.get("rules.minimum_rows")
    return Thresholds(
        share if isinstance(share, float) and 0 < share < 1 else usual.worthwhile,
        rows if isinstance(rows, int) else usual.minimum_rows,
    )


_OUTCOMES: dict[str, tuple[str, str]] = {
    "accept": ("Accepted", "good"),
    "reject": ("Rejected", "bad"),
    "hold": ("Hold", "wait"),
    "unchanged": ("Unchanged", "calm"),
    "bad_data": ("Bad data", "bad"),
    "failed": ("Failed", "bad"),
    # of a build
    "published": ("Published", "good"),
    "passed": ("Passed", "good"),
    "found": ("Found", "bad"),
    "interrupted": ("Interrupted", "wait"),
    # of a release
    "started": ("Under way", "calm"),
    "waiting": ("Waits for approval", "wait"),
    "approved": ("Approved", "good"),
    "released": ("Released", "good"),
    "rejected": ("Rejected", "bad"),
    "refused": ("Refused", "bad"),
    "expired": ("Expired", "wait"),
    "rolled_back": ("Rolled back", "bad"),
    "frozen": ("Frozen", "bad"),
    "cancelled": ("Cancelled", "calm"),
    # of an endpoint
    "healthy": ("Healthy", "good"),
    "starting": ("Starting", "wait"),
    "unhealthy": ("Unhealthy", "bad"),
    "stopped": ("Stopped", "wait"),
    "absent": ("Absent", "calm"),
    "served": ("Served", "calm"),
}


def outcome_label(code: str) -> str:
    """The word that a person reads for an outcome code.

    Example:
        >>> outcome_label("bad_data")
        'Bad data'
    """
    return _OUTCOMES.get(code, (code.replace("_", " ").capitalize(), ""))[0]


def outcome_tone(code: str) -> str:
    """``good``, ``bad``, ``wait`` or ``calm``: how an outcome is coloured.

    Example:
        >>> outcome_tone("hold")
        'wait'
    """
    return _OUTCOMES.get(code, ("", "calm"))[1]


def number(value: float | None, digits: int = 4) -> str:
    """A number in at most ``digits`` significant digits, with a true minus sign; a dash where there is none.

    Example:
        >>> number(2933.4567), number(-0.01234567), number(None), number(1234567.0), number(1.5e-9)
        ('2,933', '−0.01235', '–', '1,234,567', '1.5e−09')
    """
    if value is None or not math.isfinite(value):
        return "–"
    whole = float(value).is_integer() or abs(value) >= 10 ** (digits - 1)
    text = f"{value:,.0f}" if whole and abs(value) < 1e15 else f"{value:.{digits}g}"
    return text.replace("-", "−")


def percent(share: float | None) -> str:
    """A share as a signed percentage, one decimal below 100 %.

    Example:
        >>> percent(0.1316), percent(-0.004), percent(None), percent(-1.5), percent(0.0)
        ('+13.2 %', '−0.4 %', '–', '−150 %', '0.0 %')
    """
    if share is None or not math.isfinite(share):
        return "–"
    hundredths = share * 100
    if abs(hundredths) >= 1e6:
        return f"{hundredths:+.1e} %".replace("-", "−")
    decimals = 0 if abs(hundredths) >= 100 else 1
    text = f"{hundredths:+,.{decimals}f}"
    return (text[1:] if float(text.replace(",", "")) == 0 else text).replace("-", "−") + " %"


def share_of(value: float | None, whole: float | None) -> float | None:
    """``value / whole``, or None where that is no number.

    Example:
        >>> share_of(1.0, 4.0), share_of(1.0, 0.0), share_of(None, 1.0)
        (0.25, None, None)
    """
    if value is None or whole is None or whole == 0:
        return None
    share = value / whole
    return share if math.isfinite(share) else None


def gain_shares(evidence: SetEvidence) -> tuple[float | None, float | None, float | None]:
    """Lower bound, gain and upper bound as shares of the opponent's loss; None where that is no number.

    Example:
        >>> gain_shares(SetEvidence("sealed", 88, 200.0, 180.0, 20.0, 9.0, 10.0, 30.0, 0.005, True, 0.1))
        (0.05, 0.1, 0.15)
    """
    lower, gain, upper = (
        share_of(value, evidence.opponent_loss) for value in (evidence.lower, evidence.gain, evidence.upper)
    )
    return lower, gain, upper


def interval(lower: float | None, upper: float | None) -> str:
    """Two shares as an interval in percent.

    Example:
        >>> interval(0.031, 0.23)
        '+3.1 to +23.0 %'
    """
    low, high = percent(lower), percent(upper)
    return f"{low.removesuffix(' %')} to {high}" if "–" not in (low, high) else "–"


def p_value(value: float | None) -> str:
    """A probability in the form that tables use.

    Example:
        >>> p_value(0.00002), p_value(0.04321), p_value(0.98), p_value(1.0)
        ('< 0.0001', '0.043', '0.98', '1.00')
    """
    if value is None or not math.isfinite(value):
        return "–"
    if value < 0.0001:
        return "< 0.0001"
    return f"{value:.2g}" if value < 0.1 else f"{value:.2f}"


def slice_finding(found: SliceEvidence, thresholds: Thresholds) -> str:
    """What the test of a slice came to: ``harmed``, ``too few rows`` or ``no harm shown``.

    Example:
        >>> slice_finding(SliceEvidence("older", 15, 3000.0, 120.0, 1.0, False), Thresholds())
        'too few rows'
    """
    if found.harmed:
        return "harmed"
    return "too few rows" if found.rows < thresholds.minimum_rows else "no harm shown"


def next_step_of(record: Mapping[str, Any]) -> str:
    """What a person should do next: the run's own word, else the verdict's while nothing has come of it yet.

    Example:
        >>> judged = {"outcome": {"code": "accept", "next_step": ""}, "verdict": {"next_step": "register it"}}
        >>> next_step_of(judged), next_step_of({**judged, "model_version": {"number": 7}})
        ('register it', '')
    """
    outcome = record["outcome"]
    done = record.get("model_version") or outcome["code"] == "unchanged"
    of_verdict = "" if done else (record.get("verdict") or {}).get("next_step", "")
    return one_line(outcome["next_step"] or of_verdict)


def one_line(text: str) -> str:
    r"""``text`` without line breaks: errors lay out their advice in columns.

    Example:
        >>> one_line("this     or\n  that")
        'this or that'
    """
    return " ".join(text.split())


def duration(seconds: float | None) -> str:
    """A duration as a person would say it.

    Example:
        >>> duration(0.0312), duration(3.21), duration(75), duration(3725), duration(None)
        ('31 ms', '3.2 s', '1 min 15 s', '1 h 02 min', '–')
    """
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return "–"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def moment(text: str) -> str:
    """An ISO 8601 time as date and time in UTC; the text itself where it is none.

    Example:
        >>> moment("2026-03-02T05:00:07.123+01:00"), moment("soon")
        ('2026-03-02 04:00:07 UTC', 'soon')
    """
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return text
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=UTC)
    return f"{parsed.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def short_digest(text: str) -> str:
    """A digest or handle with its long hexadecimal runs cut to twelve digits.

    Example:
        >>> short_digest("data://d@sha256:0123456789abcdef0123456789abcdef")
        'data://d@sha256:0123456789ab…'
    """
    import re

    return re.sub(r"([0-9a-f]{12})[0-9a-f]{8,}", r"\1…", text)


def expectation_words(name: str) -> str:
    """An expectation's type in plain words.

    Example:
        >>> expectation_words("expect_column_values_to_be_between")
        'values to be between'
        >>> expectation_words("ExpectColumnMeanToHaveStayed")
        'mean to have stayed'
    """
    import re

    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    return words.removeprefix("expect_").removeprefix("column_").replace("_", " ")


def opponent_words(opponent: str, *, loss: str = "") -> str:
    """What the candidate was compared with, in words.

    Example:
        >>> opponent_words("mean"), opponent_words("mean", loss="log_loss"), opponent_words("models:/d/1")
        ('predicting the mean', 'predicting the class shares', 'models:/d/1')
    """
    if opponent != "mean":
        return short_digest(opponent)
    return "predicting the class shares" if loss in ("log_loss", "brier") else "predicting the mean"


def plural(count: int, noun: str) -> str:
    """A count with its noun.

    Example:
        >>> plural(1, "row"), plural(1200, "row")
        ('1 row', '1,200 rows')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


_UNSAFE = {"Cc", "Cs", "Co", "Cn"}
# Marks that reorder or hide text: a column name must not be able to make a line read as something else.
_DIRECTION_MARKS = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C}


def visible(text: Any) -> str:
    r"""``text`` with control characters, lone surrogates and direction marks spelled out, so that data cannot act.

    Example:
        >>> visible("a" + chr(27) + "[31mb")
        'a\\x1b[31mb'
    """
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if unicodedata.category(character) in _UNSAFE or ord(character) in _DIRECTION_MARKS
        else character
        for character in str(text)
    )


def typeset(text: Any) -> str:
    """``text`` made visible, with the sign for per cent kept on the line of its number.

    Example:
        >>> typeset("13 % better") == "13" + chr(0xA0) + "% better"
        True
    """
    return visible(text).replace(" %", "\N{NO-BREAK SPACE}%")


def bound_at(level: float | None) -> str:
    """The confidence of a one-sided bound, from its error probability.

    Example:
        >>> bound_at(0.005), bound_at(0.05 / 104)
        ('99.5 %', '99.95 %')
    """
    return "–" if level is None else f"{100 * (1 - level):.4g} %"


def advice_facts(advice: PowerAdvice, *, missing: bool = True) -> list[tuple[str, str]]:
    """The power advice as terms with their values; without ``missing`` only what the rows of today can show.

    Example:
        >>> for term, text in advice_facts(PowerAdvice(88, 428, 340, 235, 728, 17.0, 7.4, 32.0, 0.084)):
        ...     print(f"{term}: {text}")
        Sealed rows now: 88
        Needed to see a gain of 5 %: about 428 (235 to 728)
        More to come: about 340
        At the present inflow: 17 weeks (7 to 32)
        Smallest gain visible now: 8.4 %
    """
    facts = [
        ("Sealed rows now", f"{advice.rows_now:,}"),
        ("Needed to see a gain of 5 %", f"about {advice.rows_needed:,} ({advice.rows_low:,} to {advice.rows_high:,})"),
    ]
    if not missing:
        del facts[1:]
    if missing and advice.rows_missing:
        facts.append(("More to come", f"about {advice.rows_missing:,}"))
    weeks = (advice.weeks, advice.weeks_low, advice.weeks_high)
    if missing and advice.rows_missing and None not in weeks:
        middle, low, high = (round(each or 0) for each in weeks)
        facts.append(("At the present inflow", f"{plural(middle, 'week')} ({low:,} to {high:,})"))
    if advice.smallest_gain_visible is not None:
        facts.append(("Smallest gain visible now", percent(advice.smallest_gain_visible).removeprefix("+")))
    return facts


def advice_sentence(advice: PowerAdvice) -> str:
    """The power advice in one line.

    Example:
        >>> advice_sentence(PowerAdvice(88, 428, 340, 235, 728, 17.0, 7.4, 32.0, 0.084))
        '88 sealed rows show a gain of 8.4 % or more; about 428 (235 to 728) would show one of 5 %'
    """
    now = plural(advice.rows_now, "sealed row")
    if advice.smallest_gain_visible is not None:
        visible_now = percent(advice.smallest_gain_visible).removeprefix("+")
        now += f" show{'s' if advice.rows_now == 1 else ''} a gain of {visible_now} or more"
    return f"{now}; about {advice.rows_needed:,} ({advice.rows_low:,} to {advice.rows_high:,}) would show one of 5 %"


def data_sentence(report: DataReport) -> str:
    """How many expectations were met, in one sentence.

    Example:
        >>> data_sentence(DataReport("data://d@sha256:0", "sha256:0", ()))
        'No expectations.'
    """
    total, warned, failed = len(report.expectations), len(report.warnings), len(report.failures)
    if not total:
        return "No expectations."
    parts = [f"{total - warned - failed} met"]
    parts += [plural(warned, "warning")] if warned else []
    parts += [plural(failed, "failure")] if failed else []
    return f"{plural(total, 'expectation')}: {', '.join(parts)}."


def lineage_facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where a run's result came from: terms with their values, only those that are known."""
    lineage, candidate, verdict = record["lineage"], record.get("candidate") or {}, record.get("verdict") or {}
    tree = {True: " (clean)", False: " (with uncommitted changes)", None: ""}[lineage.get("clean")]
    dataset, report = record.get("dataset") or {}, record.get("data_report") or {}
    data = f"data://{dataset['name']}@{dataset['digest']}" if dataset else report.get("dataset", "")
    facts = {
        "Run": record["run"]["id"],
        "Commit": f"{lineage['commit']}{tree}" if lineage.get("commit") else "",
        "Environment": lineage.get("environment") or "",
        "Seed": "" if lineage.get("seed") is None else str(lineage["seed"]),
        "Data": data,
        "Read from": dataset.get("source", ""),
        "Suite": report.get("suite", ""),
        "Model digest": candidate.get("digest", ""),
        "Opponent": verdict.get("opponent", ""),
        "Opponent's digest": verdict.get("opponent_digest", ""),
        "Holdout rule": verdict.get("key", ""),
        "Started": moment(record["run"]["started_at"]),
        "Ended": moment(record["run"]["ended_at"]),
    }
    return [(term, text) for term, text in facts.items() if text]
