"""What tritonclient sends and reads; the last line printed is what it found, as JSON."""

import json
import sys

import numpy as np
import tritonclient.http as triton

client = triton.InferenceServerClient(sys.argv[1], concurrency=4)
assert client.is_server_live()
assert client.is_server_ready()
assert client.is_model_ready("toy")
assert client.get_server_metadata()["name"] == "ridgeway"


def tensor(name: str, values: np.ndarray, datatype: str, *, binary: bool = True) -> triton.InferInput:
    one = triton.InferInput(name, values.shape, datatype)
    one.set_data_from_numpy(values, binary_data=binary)
    return one


rows = np.array([[10, 1, 1], [0, 0, 0]], np.float64)
found = {
    "metadata": client.get_model_metadata("toy")["inputs"][0],
    "index": sorted(model["name"] for model in client.get_model_repository_index()),
    "late": client.async_infer("toy", [tensor("input", rows, "FP64")]).get_result().as_numpy("predict").tolist(),
}
for binary in (True, False):
    wanted = [triton.InferRequestedOutput("predict", binary_data=binary)]
    answer = client.infer("toy", [tensor("input", rows, "FP64", binary=binary)], outputs=wanted, request_id="r1")
    found[f"rows {binary}"] = answer.as_numpy("predict").tolist()
    found["id"] = answer.get_response()["id"]

columns = [
    tensor("size", np.ones((2, 1)), "FP64"),
    tensor("city", np.array([["oslo"], ["lima"]], dtype=object), "BYTES"),
    tensor("new", np.array([[True], [False]]), "BOOL"),
]
found["mixed"] = client.infer("mixed", columns).as_numpy("predict").tolist()
pair = [tensor("input", np.array([[1, 3]], np.float32), "FP32")]
answer = client.infer("sort", pair)
found["label"] = [one.decode() for one in answer.as_numpy("predict").tolist()]
found["probabilities"] = answer.as_numpy("probabilities").sum()
client.unload_model("sort")
found["unloaded"] = client.is_model_ready("sort")
client.load_model("sort")
found["loaded"] = client.is_model_ready("sort")
try:
    client.infer("none", pair)
except triton.InferenceServerException as error:
    found["error"] = error.message()
sys.stdout.write(json.dumps(found))
