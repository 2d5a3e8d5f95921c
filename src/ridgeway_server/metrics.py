"""What the server counts, and its text form for Prometheus. Workers count in plain lists; the supervisor adds up."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from typing import Any

import numpy as np

from ridgeway_server import sketch

BOUNDS_MS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000, 30000)
"""Upper bounds of the latency histogram, milliseconds."""
BOUNDS_SECONDS = tuple(bound / 1000 for bound in BOUNDS_MS)
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
TEXT = "text/plain; version=0.0.4; charset=utf-8"


class RouteMetrics:
    """Counts of one route: requests by status, rows, and a latency histogram of all of them."""

    __slots__ = ("buckets", "good", "rows", "seconds", "statuses")

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}
        self.good = array("d")
        """Seconds of good answers for one row that are in no other count yet: one append in place of four sums.

        An array holds 8 bytes each and no objects: many thousands of those, let go at once, leave holes that the
        allocator does not give back.
        """
        self.rows = 0
        self.seconds = 0.0
        self.buckets = [0] * (len(BOUNDS_SECONDS) + 1)

    def settle(self) -> None:
        """Move what ``good`` holds to where it belongs."""
        if self.good:
            times = np.array(self.good)
            del self.good[:]
            self.statuses[200] = self.statuses.get(200, 0) + len(times)
            self.rows += len(times)
            self.seconds += float(times.sum())
            places = np.searchsorted(BOUNDS_SECONDS, times, side="left")
            counts = np.bincount(places, minlength=len(self.buckets)).tolist()
            self.buckets = [have + more for have, more in zip(self.buckets, counts, strict=True)]

    def count(self, status: int, rows: int, seconds: float) -> None:
        """One answered request."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.rows += rows
        self.seconds += seconds
        self.buckets[bisect_left(BOUNDS_SECONDS, seconds)] += 1


class Metrics:
    """All counts of one worker."""

    def __init__(self) -> None:
        self.routes: dict[str, RouteMetrics] = {}
        self.sketches: dict[str, sketch.Sketch] = {}
        self.load_seconds: dict[str, float] = {}
        self.gauges: dict[str, int] = {}
        self.counters: dict[str, int] = {}

    def route(self, name: str) -> RouteMetrics:
        """The counts of a route, by its template: never by the path as sent, whose values a client chooses."""
        return self.routes.setdefault(name, RouteMetrics())

    def sketch(self, model: str) -> sketch.Sketch:
        """The quantile sketch of a model's predictions (of a classification: the last class's probabilities)."""
        return self.sketches.setdefault(model, sketch.Sketch())

    def add(self, counter: str, by: int = 1) -> None:
        """Count an event."""
        self.counters[counter] = self.counters.get(counter, 0) + by

    def settle(self) -> bool:
        """Put times and predictions into their buckets; whether there were any.

        Called often while there are: many at a time would hold up the answers of that moment for milliseconds.
        """
        waiting = any(route.good for route in self.routes.values())
        for route in self.routes.values():
            route.settle()
        for one in self.sketches.values():
            waiting = waiting or bool(one.pending or one.blocks)
            one.settle()
        return waiting

    def record(self) -> dict[str, Any]:
        """All counts as JSON can carry them."""
        for one in self.routes.values():
            one.settle()
        routes = {
            name: {"statuses": {str(k): v for k, v in one.statuses.items()}, "rows": one.rows, "seconds": one.seconds,
                   "buckets": list(one.buckets)}
            for name, one in self.routes.items()
        }  # fmt: skip
        sketches = {name: one.record() for name, one in self.sketches.items() if one.pending or one.blocks or one.count}
        return {"routes": routes, "sketches": sketches, "load_seconds": dict(self.load_seconds),
                "gauges": dict(self.gauges), "counters": dict(self.counters)}  # fmt: skip


def empty_record() -> dict[str, Any]:
    """A record with nothing counted."""
    return Metrics().record()


def merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Both records added up; of two load times of one model the longer."""
    routes = dict(first["routes"])
    for name, one in second["routes"].items():
        routes[name] = _merged_route(routes[name], one) if name in routes else one
    sketches = dict(first["sketches"])
    for name, one in second["sketches"].items():
        sketches[name] = sketch.merge(sketches[name], one) if name in sketches else one
    loads = dict(first["load_seconds"])
    for name, seconds in second["load_seconds"].items():
        loads[name] = max(seconds, loads.get(name, 0.0))
    return {"routes": routes, "sketches": sketches, "load_seconds": loads,
            "gauges": _summed(first["gauges"], second["gauges"]),
            "counters": _summed(first["counters"], second["counters"])}  # fmt: skip


def _merged_route(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    return {
        "statuses": _summed(first["statuses"], second["statuses"]),
        "rows": first["rows"] + second["rows"],
        "seconds": first["seconds"] + second["seconds"],
        "buckets": [a + b for a, b in zip(first["buckets"], second["buckets"], strict=True)],
    }


def _summed(first: dict[str, int], second: dict[str, int]) -> dict[str, int]:
    return {key: first.get(key, 0) + second.get(key, 0) for key in {**first, **second}}


def without_gauges(record: dict[str, Any]) -> dict[str, Any]:
    """What remains of a worker that has ended: its counts, not what it had in hand."""
    return {**record, "gauges": {}}


def exposition(record: dict[str, Any]) -> bytes:
    """A record in Prometheus' text format, version 0.0.4."""
    lines = ["# TYPE ridgeway_requests_total counter"]
    for route, one in sorted(record["routes"].items()):
        lines += [
            f'ridgeway_requests_total{{route="{route}",status="{status}"}} {count}'
            for status, count in sorted(one["statuses"].items())
        ]
    lines.append("# TYPE ridgeway_rows_total counter")
    lines += [
        f'ridgeway_rows_total{{route="{route}"}} {one["rows"]}' for route, one in sorted(record["routes"].items())
    ]
    lines.append("# TYPE ridgeway_request_seconds histogram")
    for route, one in sorted(record["routes"].items()):
        lines += _histogram(route, one)
    for name, value in sorted(record["gauges"].items()):
        lines += [f"# TYPE ridgeway_{name} gauge", f"ridgeway_{name} {value}"]
    for name, value in sorted(record["counters"].items()):
        lines += [f"# TYPE ridgeway_{name}_total counter", f"ridgeway_{name}_total {value}"]
    lines.append("# TYPE ridgeway_model_load_seconds gauge")
    lines += [
        f'ridgeway_model_load_seconds{{model="{name}"}} {s:.6f}' for name, s in sorted(record["load_seconds"].items())
    ]
    lines.append("# TYPE ridgeway_predictions summary")
    for name, one in sorted(record["sketches"].items()):
        lines += _summary(name, one)
    return ("\n".join(lines) + "\n").encode()


def _histogram(route: str, one: dict[str, Any]) -> list[str]:
    lines, below = [], 0
    for bound, count in zip((*BOUNDS_SECONDS, math.inf), one["buckets"], strict=True):
        below += count
        name = "+Inf" if bound == math.inf else repr(bound)
        lines.append(f'ridgeway_request_seconds_bucket{{route="{route}",le="{name}"}} {below}')
    lines.append(f'ridgeway_request_seconds_sum{{route="{route}"}} {one["seconds"]:.6f}')
    lines.append(f'ridgeway_request_seconds_count{{route="{route}"}} {below}')
    return lines


def _summary(model: str, one: dict[str, Any]) -> list[str]:
    lines = [
        f'ridgeway_predictions{{model="{model}",quantile="{share}"}} {sketch.quantile(one, share)!r}'
        for share in QUANTILES
    ]
    return [
        *lines,
        f'ridgeway_predictions_sum{{model="{model}"}} {one["total"]!r}',
        f'ridgeway_predictions_count{{model="{model}"}} {one["count"]}',
    ]
