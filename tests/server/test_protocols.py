"""The core, bytes to bytes, without a server: each protocol's forms, and what it says to bad ones."""

from __future__ import annotations

import struct

import numpy as np
import orjson
import pytest

from ridgeway_server.errors import Refusal
from ridgeway_server.exchange import JSON, OCTETS, Asked, Limits
from ridgeway_server.models import load_model
from ridgeway_server.packages import read_package
from ridgeway_server.protocols.v2 import metadata
from ridgeway_server.routes import MLFLOW, SCORE, V2


@pytest.fixture
def toy(packages):
    return load_model(read_package(packages.linear()))


@pytest.fixture
def sort(packages):
    return load_model(read_package(packages.logistic()))


@pytest.fixture
def mixed(packages):
    return load_model(read_package(packages.mixed()))


def call(protocol, model, body, asked=None):
    body = body if isinstance(body, bytes) else orjson.dumps(body)
    parsed = protocol.parse(model, body, asked or Asked())
    reply = protocol.encode(model, model.predict(parsed.table), parsed)
    return orjson.loads(reply.body) if reply.content_type == JSON else reply


def refusal(protocol, model, body, asked=None) -> tuple[int, str]:
    with pytest.raises(Refusal) as refused:
        call(protocol, model, body, asked)
    return refused.value.status, refused.value.sentence


def test_score(toy, sort, mixed) -> None:
    assert call(SCORE, toy, {"data": [[10, 1, 1], [0, 0, 0]]}) == {"result": [16.0, 10.0]}
    assert call(SCORE, toy, {"data": [{"sex": 1, "bmi": 1, "age": 10}]}) == {"result": [16.0]}
    answer = call(SCORE, sort, {"data": [[1, 3], [3, None]]})
    assert answer["result"] == ["no", "no"]
    # −1.5 a − 0.5 b; b is filled in with 2.
    scores = np.array([-3.0, -5.5])
    np.testing.assert_allclose(np.array(answer["probabilities"])[:, 1], 1 / (1 + np.exp(-scores)), rtol=1e-12)
    data = [[1, "oslo", True], [1, "rome", False], [1, None, False], [1, "lima", False]]
    assert call(SCORE, mixed, {"data": data}) == {"result": [112.0, 22.0, 7.0, 2.0]}


def test_octets(toy, sort) -> None:
    body = np.array([[10.0, 1, 1], [0, 0, 0]]).tobytes()
    reply = call(SCORE, toy, body, Asked(OCTETS))
    assert (reply.content_type, np.frombuffer(reply.body).tolist()) == (OCTETS, [16.0, 10.0])
    assert call(SCORE, toy, body, Asked(OCTETS, JSON)) == {"result": [16.0, 10.0]}
    reply = call(SCORE, sort, np.array([[1.0, 3.0]]).tobytes(), Asked(OCTETS))
    assert np.frombuffer(reply.body).reshape(-1, 2).sum() == pytest.approx(1.0)
    for size in (0, 1, 23, 25):
        assert refusal(SCORE, toy, bytes(size), Asked(OCTETS))[0] == 400
    assert "missing" in refusal(SCORE, toy, np.array([[np.nan, 1, 1]]).tobytes(), Asked(OCTETS))[1]
    assert "inf" in refusal(SCORE, toy, np.array([[np.inf, 1, 1]]).tobytes(), Asked(OCTETS))[1]


def test_softmax_of_three_classes(packages) -> None:
    model = load_model(read_package(packages.logistic("three", classes=(0, 1, 2))))
    answer = call(SCORE, model, {"data": [[1.0, 1.0], [-9, -9]]})
    scores = np.array([[1.0, 1.0], [-9, -9]]) @ (np.arange(6.0).reshape(2, 3) - 1.5)
    expected = np.exp(scores - scores.max(1, keepdims=True))
    np.testing.assert_allclose(answer["probabilities"], expected / expected.sum(1, keepdims=True), rtol=1e-12)
    assert answer["result"] == scores.argmax(1).tolist()


@pytest.mark.parametrize(
    "form",
    [
        {"inputs": [[10, 1, 1]]},
        {"instances": [[10, 1, 1]]},
        {"inputs": {"age": [10], "bmi": [1.0], "sex": [1], "other": ["x"]}},
        {"instances": [{"age": 10, "bmi": 1, "sex": 1, "other": None}]},
        {"dataframe_split": {"columns": ["sex", "age", "bmi"], "index": [0], "data": [[1, 10, 1]]}},
        {"dataframe_split": {"data": [[10, 1, 1]]}},
        {"dataframe_records": [{"age": 10, "bmi": 1, "sex": 1}]},
        {"inputs": [[10, 1, 1]], "params": {}},
    ],
)
def test_mlflow_forms(toy, form) -> None:
    assert call(MLFLOW, toy, form) == {"predictions": [16.0]}


def test_mlflow_csv(toy, mixed) -> None:
    csv = Asked("text/csv")
    assert call(MLFLOW, toy, b"age,bmi,sex\n10,1.0,1\n0,0,0\n", csv) == {"predictions": [16.0, 10.0]}
    assert call(MLFLOW, toy, b"\xef\xbb\xbfsex,extra,bmi,age\r\n1,x,1,10\r\n", csv) == {"predictions": [16.0]}
    text = 'city,new,size\n"oslo",true,1\n,false,1\n"a ""b"", c",False,1\n'
    assert call(MLFLOW, mixed, text.encode(), csv) == {"predictions": [112.0, 7.0, 2.0]}
    for body, says in [
        (b"", "0 lines"),
        (b"age,bmi,sex\n", "1 lines"),
        (b"age,bmi\n1,2\n", "without ['sex']"),
        (b"age,bmi,sex\n1,2\n", "row 1 has 2 values"),
        (b"age,bmi,sex,age\n1,2,3,4\n", "twice"),
        (b"age,bmi,sex\n1,x,3\n", "column 'bmi' is 'x'; expected a number"),
        (b"age,bmi,sex\n1,1_0,3\n", "column 'bmi' is '1_0'"),
        (b"age,bmi,sex\n1,,3\n", "column 'bmi' is missing"),
        (b"age,bmi,sex\n1,nan,3\n", "missing"),
        (b"age,bmi,sex\n1,1e999,3\n", "inf"),
        (b'age,bmi,sex\n"1,2,3\n', "cannot be read"),
        (b"age,bmi,sex\n1,\xff,3\n", "not UTF-8 at byte 14"),
    ]:
        assert says in refusal(MLFLOW, toy, body, csv)[1], body


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"data": [[10, 1, 1]]},
        {"inputs": [[1, 2, 3]], "instances": [[1, 2, 3]]},
        {"inputs": []},
        {"inputs": 1},
        {"inputs": [[10, 1, 1]], "params": {"a": 1}},
        {"dataframe_split": {"columns": [1], "data": [[1]]}},
        {"dataframe_split": {"columns": ["age"], "data": [[1]]}},
        {"dataframe_split": []},
        {"dataframe_records": [[1]]},
        {"dataframe_split": {"columns": "abc", "data": [[1, 2, 3]]}},
        {"dataframe_records": {}},
        {"inputs": {"age": [1]}},
        {"dataframe_split": {"columns": ["age", "bmi", "sex"], "data": [[1, 2]]}},
    ],
)
def test_mlflow_forms_that_are_refused(toy, body) -> None:
    assert refusal(MLFLOW, toy, body)[0] == 400


def tensor(name="input", shape=(1, 3), datatype="FP64", data=(10, 1, 1), **more):
    return {"name": name, "shape": list(shape), "datatype": datatype, "data": list(data), **more}


def test_v2_json(toy, sort, mixed) -> None:
    expected = {"name": "predict", "shape": [1], "datatype": "FP64", "data": [16.0]}
    answer = call(V2, toy, {"id": "a1", "inputs": [tensor()]})
    assert answer == {"model_name": "toy", "model_version": "1", "id": "a1", "outputs": [expected]}
    nested = {"inputs": [tensor(data=[[10, 1, 1]], datatype="FP32")]}
    by_column = {
        "inputs": [
            tensor("sex", [1], "INT64", [1]),
            tensor("age", [1, 1], "FP64", [10]),
            tensor("bmi", [1], "FP32", [1]),
        ]
    }
    for body in (nested, by_column, {"inputs": [tensor()], "outputs": [{"name": "predict"}]}):
        assert call(V2, toy, body)["outputs"] == [expected]
    labels = call(V2, sort, {"inputs": [tensor(shape=[1, 2], data=[1, None])]})["outputs"]
    assert labels[0] == {"name": "predict", "shape": [1], "datatype": "BYTES", "data": ["no"]}
    assert labels[1]["shape"] == [1, 2]
    only = {"inputs": [tensor(shape=[1, 2], data=[1, 1])], "outputs": [{"name": "probabilities"}]}
    assert [output["name"] for output in call(V2, sort, only)["outputs"]] == ["probabilities"]
    columns = [
        tensor("size", [2], "FP64", [1, 1]),
        tensor("city", [2, 1], "BYTES", ["oslo", None]),
        tensor("new", [2], "BOOL", [True, False]),
    ]
    assert call(V2, mixed, {"inputs": columns})["outputs"][0]["data"] == [112.0, 7.0]


def binary_request(tensors: list[tuple[str, list[int], str, bytes]], **more) -> tuple[bytes, Asked]:
    inputs = [
        {"name": name, "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": len(raw)}}
        for name, shape, datatype, raw in tensors
    ]
    head = orjson.dumps({"inputs": inputs, **more})
    return head + b"".join(raw for *_, raw in tensors), Asked(OCTETS, "", len(head))


def test_v2_binary(toy, mixed) -> None:
    body, asked = binary_request([("input", [1, 3], "FP32", np.array([10, 1, 1], "<f4").tobytes())])
    assert call(V2, toy, body, asked)["outputs"][0]["data"] == [16.0]
    texts = b"".join(struct.pack("<I", len(text)) + text for text in (b"oslo", b"r\xc3\xb6m"))
    tensors = [
        ("size", [2], "INT32", np.array([1, 1], "<i4").tobytes()),
        ("city", [2], "BYTES", texts),
        ("new", [2], "BOOL", b"\1\0"),
    ]
    body, asked = binary_request(tensors, parameters={"binary_data_output": True})
    reply = call(V2, mixed, body, asked)
    length = int(reply.headers.split(b":")[1])
    assert orjson.loads(reply.body[:length])["outputs"][0]["parameters"] == {"binary_data_size": 16}
    assert np.frombuffer(reply.body[length:]).tolist() == [112.0, 2.0]


def _broken(index: int) -> tuple[bytes, Asked]:
    good = np.array([10, 1, 1], "<f8").tobytes()
    body, asked = [
        binary_request([("input", [1, 3], "FP64", good[:-1])]),
        binary_request([("input", [1, 3], "FP64", good + b"x")]),
        binary_request([("input", [2, 3], "FP64", good)]),
        binary_request([("input", [1, 3], "BYTES", b"\xff\xff\xff\xff" * 3)]),
        binary_request([("input", [1, 3], "BYTES", b"\1\0\0\0\xff" * 3)]),
        binary_request([("input", [1], "BYTES", b"\1\0\0\0ab")]),
        binary_request([("input", [2**31 - 1, 2**31 - 1], "FP64", good)]),
        binary_request([("input", [1, 3], "BOOL", b"\2\0\0")]),
    ][index]
    return body, asked


@pytest.mark.parametrize("index", range(8))
def test_v2_binary_that_is_broken(toy, index) -> None:
    assert refusal(V2, toy, *_broken(index))[0] == 400


def test_v2_lengths_that_do_not_fit(toy) -> None:
    body, asked = binary_request([("input", [1, 3], "FP64", np.zeros(3).tobytes())])
    assert "bytes behind the last tensor" in refusal(V2, toy, body + b"x", asked)[1]
    assert refusal(V2, toy, body, Asked(OCTETS, "", 10**6))[0] == 400
    assert refusal(V2, toy, body[:-8], asked)[0] == 400


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"inputs": []},
        {"inputs": [1]},
        {"inputs": {}},
        {"inputs": [tensor(name=1)]},
        {"inputs": [tensor(datatype="FP8")]},
        {"inputs": [tensor(shape=[3])]},
        {"inputs": [tensor(shape=[1, 3, 1])]},
        {"inputs": [tensor(shape=["1", 3])]},
        {"inputs": [tensor(shape=[-1, 3])]},
        {"inputs": [tensor(shape=[1, 4])]},
        {"inputs": [tensor(data=[1, 2])]},
        {"inputs": [tensor(data=["1", 1, 1])]},
        {"inputs": [tensor(data=[True, 1, 1])]},
        {"inputs": [tensor(datatype="INT64", data=[1.5, 1, 1])]},
        {"inputs": [tensor(data=[[1, 1], [1]])]},
        {"inputs": [tensor(), tensor()]},
        {"inputs": [tensor(data=[None, 1, 1])]},
        {"inputs": [tensor()], "id": 1},
        {"inputs": [tensor()], "outputs": [{"name": "x"}]},
        {"inputs": [tensor()], "outputs": 1},
        {"inputs": [tensor()], "parameters": []},
        {"inputs": [tensor(datatype="BYTES", data=["a", "b", "c"])]},
        {"inputs": [tensor(parameters={"binary_data_size": 24})]},
        {"inputs": [tensor(parameters={"binary_data_size": -1})]},
        {
            "inputs": [
                tensor("age", [1], "INT64", [1]),
                tensor("bmi", [2], "FP64", [1, 2]),
                tensor("sex", [1], "INT64", [1]),
            ]
        },
        {"inputs": [{"name": "input", "shape": [1, 3], "datatype": "FP64"}]},
        {"inputs": [tensor(shape=[0, 3], data=[])]},
        {"inputs": [tensor()], "outputs": [{"name": "predict"}, {"name": "predict"}]},
        {"inputs": [tensor(data=[[10, 1, 1], 5])]},
    ],
)
def test_v2_requests_that_are_refused(toy, body) -> None:
    assert refusal(V2, toy, body)[0] == 400


def test_v2_metadata(toy, sort, mixed) -> None:
    about = metadata(toy, ["1"])
    assert about["inputs"] == [{"name": "input", "datatype": "FP64", "shape": [-1, 3]}]
    assert about["parameters"]["digest"] == toy.digest
    assert about["parameters"]["lineage"] == {"data": "data://toy"}
    assert [output["name"] for output in metadata(sort, ["1"])["outputs"]] == ["predict", "probabilities"]
    assert [tensor["datatype"] for tensor in metadata(mixed, ["1"])["inputs"]] == ["FP64", "BYTES", "BOOL"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b"[[1,2,3]]",
        b"null",
        b"5",
        b'"text"',
        b'{"data":[[1,2,NaN]]}',
        b'{"data":[[1,2,Infinity]]}',
        b'{"data":[[1,2,1e400]]}',
        b'{"data":[[1,2,3]],"more":1}',
        b'{"rows":[[1,2,3]]}',
        b'{"data":"' + b"\xff" + b'"}',
        b'{"data":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'\xef\xbb\xbf{"data":[[1,2,3]]}',
        b'{"data":null}',
        b'{"data":[]}',
        b'{"data":[[]]}',
        b'{"data":[[1,2,3],[1,2]]}',
        b'{"data":[[1,2,"3"]]}',
        b'{"data":[[1,true,3]]}',
        b'{"data":{}}',
        b'{"data":[{"age":1}]}',
        b'{"data":[[1,2,3],{}]}',
        b'{"data":[[1,2,3,4]]}',
        b'{"data":[[[1,2,3]]]}',
        b'{"data":[1,2,3]}',
        b'{"data":[["a","b","c"]]}',
        b'{"data":[[null,1,1]]}',
        b'{"data":[[1,1,1.5]]}',
        b'{"data":[[false,1,1]]}',
    ],
)
def test_score_bodies_that_are_refused(toy, body) -> None:
    assert refusal(SCORE, toy, body)[0] == 400


def test_errors_come_in_the_form_of_the_protocol() -> None:
    assert orjson.loads(SCORE.error(400, "x")) == {"error": "x"}
    assert orjson.loads(V2.error(404, "x")) == {"error": "x"}
    assert orjson.loads(MLFLOW.error(400, "x")) == {"error_code": "BAD_REQUEST", "message": "x"}
    assert orjson.loads(MLFLOW.error(503, "x"))["error_code"] == "TEMPORARILY_UNAVAILABLE"


@pytest.mark.parametrize(
    ("protocol", "kind"),
    [(SCORE, "text/plain"), (SCORE, "text/csv"), (MLFLOW, "text/xml"), (V2, "multipart/form-data"), (MLFLOW, OCTETS)],
)
def test_types_that_are_not_taken(toy, protocol, kind) -> None:
    assert refusal(protocol, toy, {"data": []}, Asked(kind))[0] == 415


def test_a_prediction_that_is_not_finite_is_never_answered(packages) -> None:
    model = load_model(read_package(packages.linear(offset=1e308)))
    assert refusal(SCORE, model, {"data": [[0, 0, 0], [1.7e308, 1.7e308, 0]]})[0] == 422


def test_large_tables_are_read_in_pieces_with_the_same_result(toy) -> None:
    row = "[1.5, 2.25, 3]"
    for key, protocol in (("data", SCORE), ("inputs", MLFLOW)):
        body = (f'{{ "{key}" : [' + " , ".join([row] * 120_000) + "] }\n").encode()
        assert len(body) > 2**20
        tight = Asked("", "", None, Limits(10**6, 3 * len(body)))  # Parsed as a whole it would take ten times its size.
        answer = call(protocol, toy, body, tight)
        predictions = answer["result" if key == "data" else "predictions"]
        assert predictions == [0.75 + 4.5 - 3 + 10.0] * 120_000
    broken = body.replace(b", 3]] }", b"]] }")
    assert refusal(MLFLOW, toy, broken) == (400, "row 120000 has 2 values; expected 3: age, bmi, sex")


def test_json_that_would_fill_the_memory_is_not_parsed(toy) -> None:
    bomb = b'{"data":[' + b"[]," * 700_000 + b"[]]}"
    status, sentence = refusal(SCORE, toy, bomb, Asked("", "", None, Limits(10**6, 20 * 2**20)))
    assert status == 413
    assert "once parsed" in sentence
