from __future__ import annotations

import jsonschema
import pytest

from tests.server.toys import PackageMaker


def validator(document, path, part="request"):
    operation = document["paths"][path]["post"]
    holder = operation["requestBody"] if part == "request" else operation["responses"]["200"]
    return jsonschema.Draft202012Validator(holder["content"]["application/json"]["schema"])


@pytest.mark.parametrize(
    ("path", "good", "bad"),
    [
        ("/score", {"data": [[1, 2.5, 3]]}, {"data": [[1, 2.5]]}),
        ("/score", {"data": [{"age": 1, "bmi": 2, "sex": 1}]}, {"data": [{"age": 1, "bmi": 2}]}),
        ("/models/sort/score", {"data": [[1, None]]}, {"data": [[None, 1]]}),
        ("/models/mixed/score", {"data": [[1, "oslo", True], [2, None, False]]}, {"data": [[1, 2, True]]}),
        ("/invocations", {"dataframe_split": {"columns": ["age", "bmi", "sex"], "data": [[1, 2, 3]]}}, {"inputs": []}),
        ("/invocations", {"dataframe_records": [{"age": 1, "bmi": 2, "sex": 1, "x": 1}]}, {}),
        (
            "/v2/models/toy/infer",
            {"inputs": [{"name": "input", "shape": [1, 3], "datatype": "FP64", "data": [1, 2, 3]}]},
            {"inputs": [{"name": "input", "shape": [1, 3], "datatype": "FP8", "data": [1, 2, 3]}]},
        ),
    ],
)
def test_the_document_says_what_the_server_does(shared, path, good, bad) -> None:
    document = shared.get("/openapi.json").json
    schema = validator(document, path)
    assert schema.is_valid(good)
    assert not schema.is_valid(bad)
    answer = shared.post(path, good)
    assert answer.status == 200
    validator(document, path, "response").validate(answer.json)
    assert shared.post(path, bad).status == 400


def test_the_document_names_the_models_that_are_loaded(shared) -> None:
    document = shared.get("/openapi.json").json
    assert document["openapi"] == "3.1.0"
    assert {f"/v2/models/{name}/infer" for name in ("toy", "sort", "three", "mixed", "tree")} <= document[
        "paths"
    ].keys()
    for path, operations in document["paths"].items():
        if "get" in operations:
            answer = shared.get(path)
            assert str(answer.status) in operations["get"]["responses"], path


def test_keys_are_in_the_document_where_they_are_asked_for(packages: PackageMaker, serve, tmp_path) -> None:
    packages.linear()
    (tmp_path / "primary").write_text("k" * 20)
    client = serve(keys_dir=str(tmp_path))
    document = client.get("/openapi.json", X_Api_Key="k" * 20).json
    assert document["security"] == [{"key": []}]
    assert document["paths"]["/v2/health/live"]["get"]["security"] == []
