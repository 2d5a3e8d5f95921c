"""What MLflow's scoring client sends and reads; the last line printed is what it found, as JSON."""

import json
import sys

import numpy as np
import pandas as pd
import requests
from mlflow.models import convert_input_example_to_serving_input
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

port, address = int(sys.argv[1]), sys.argv[2]
client = ScoringServerClient("127.0.0.1", port)
client.wait_server_ready(timeout=10)
frame = pd.DataFrame({"sex": [1, 0], "age": [10.0, 0.0], "bmi": [1.0, 0.0]})
found = {path: requests.get(address + path, timeout=10).status_code for path in ("/ping", "/version")}
found["frame"] = client.invoke(frame).get_predictions().to_numpy().ravel().tolist()
examples = {
    "example frame": frame,
    "example array": np.array([[10.0, 1, 1]]),
    "example columns": {"age": [10.0], "bmi": [1.0], "sex": [1]},
}
for name, example in examples.items():
    payload = convert_input_example_to_serving_input(example)
    answer = requests.post(
        address + "/invocations", data=payload, headers={"Content-Type": "application/json"}, timeout=10
    )
    found[name] = answer.json()
table = frame.to_csv(index=False)
found["csv"] = requests.post(
    address + "/invocations", data=table, headers={"Content-Type": "text/csv"}, timeout=10
).json()
sys.stdout.write(json.dumps(found))
