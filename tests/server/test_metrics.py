from __future__ import annotations

import math
import sys

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ridgeway_server import metrics, sketch
from ridgeway_server.sketch import Sketch, merge, quantile
from tests.server.toys import request


@given(
    arrays.arrays(np.float64, st.integers(1, 300), elements=st.floats(-1e9, 1e9)), st.sampled_from(metrics.QUANTILES)
)
@settings(max_examples=100, deadline=None)
def test_quantiles_are_right_to_one_percent_of_themselves(values, share) -> None:
    one = Sketch()
    half = len(values) // 2
    for value in values[:half].tolist():
        one.pending.append(value)
    other = Sketch()
    other.add(values[half:])
    record = merge(orjson.loads(orjson.dumps(one.record())), other.record())
    true = float(np.sort(values)[int(share * (len(values) - 1))])
    assert record["count"] == len(values)
    assert abs(quantile(record, share) - true) <= sketch.ALPHA * abs(true) * 1.0001 + 1e-12


def test_what_waits_to_be_counted_holds_no_objects() -> None:
    one, route, numbers = Sketch(), metrics.RouteMetrics(), np.linspace(1, 2, 20_000)
    before = sys.getallocatedblocks()
    for number in numbers:
        one.pending.append(float(number))
        route.good.append(float(number))
    assert sys.getallocatedblocks() - before < 1000
    one.settle()
    route.settle()
    assert one.count == route.statuses[200] == len(numbers)
    assert not one.pending
    assert not route.good


def test_an_empty_sketch_has_no_quantile() -> None:
    assert math.isnan(quantile(Sketch().record(), 0.5))


def test_predictions_at_the_end_of_the_range_are_counted_too() -> None:
    largest = np.finfo(float).max
    one = Sketch()
    one.add(np.array([largest, largest, -largest, 0.0, 5e-324]))
    record = merge(orjson.loads(orjson.dumps(one.record())), one.record())
    assert (record["count"], record["zeros"]) == (10, 4)
    assert quantile(record, 0.99) == pytest.approx(largest, rel=0.011)
    assert quantile(record, 0.0) == pytest.approx(-largest, rel=0.011)
    assert math.isfinite(record["total"])


def test_records_add_up() -> None:
    one, two = metrics.Metrics(), metrics.Metrics()
    one.route("/score").count(200, 3, 0.0004)
    two.route("/score").count(200, 1, 0.0004)
    two.route("/score").good.extend((0.0004, 0.0002))
    two.route("/v2").count(404, 0, 40.0)
    one.gauges["queue"] = 2
    total = metrics.merged(metrics.merged(metrics.empty_record(), one.record()), two.record())
    text = metrics.exposition(total).decode()
    assert 'ridgeway_requests_total{route="/score",status="200"} 4' in text
    assert 'ridgeway_rows_total{route="/score"} 6' in text
    assert 'ridgeway_request_seconds_bucket{route="/score",le="0.0002"} 1' in text
    assert 'ridgeway_request_seconds_bucket{route="/v2",le="+Inf"} 1' in text
    assert metrics.without_gauges(total)["gauges"] == {}


def test_what_the_server_counts(packages, serve) -> None:
    packages.linear()
    packages.logistic()
    client = serve()
    client.raw(request() * 10, count=10)
    client.post("/models/toy/score", {"data": [[10, 1, 1]] * 90})
    client.post("/models/sort/score", {"data": [[1, 1]]})
    client.post("/models/toy/score", b"{")
    client.get("/a-path-that-a-client-chose")
    text = client.get("/metrics").body.decode()
    assert 'ridgeway_requests_total{route="/models/{name}/score",status="200"} 12' in text
    assert 'ridgeway_requests_total{route="/models/{name}/score",status="400"} 1' in text
    assert 'ridgeway_rows_total{route="/models/{name}/score"} 101' in text
    assert 'ridgeway_predictions_count{model="toy/1"} 100' in text
    assert float(text.split('ridgeway_predictions{model="toy/1",quantile="0.5"} ')[1].split("\n")[0]) == pytest.approx(
        16, rel=0.01
    )
    assert 'ridgeway_model_load_seconds{model="sort/1"}' in text
    for gauge in ("connections", "in_flight", "queue", "body_bytes", "models_loaded 2", "models_memory_bytes"):
        assert f"ridgeway_{gauge}" in text
    assert "chose" not in text


def test_the_text_is_what_prometheus_reads(packages, serve) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    packages.linear()
    client = serve()
    client.raw(request() * 3, count=3)
    families = {family.name: family for family in text_string_to_metric_families(client.get("/metrics").body.decode())}
    assert families["ridgeway_request_seconds"].type == "histogram"
    assert families["ridgeway_requests"].samples[0].value == 3
