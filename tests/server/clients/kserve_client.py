"""What KServe's inference client sends and reads; the last line printed is what it found, as JSON."""

import asyncio
import json
import sys

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig


async def main(base: str) -> None:
    client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=60))
    found = {
        "live": await client.is_server_live(base),
        "ready": await client.is_server_ready(base),
        "model": await client.is_model_ready(base, "toy"),
    }
    for binary in (True, False):
        tensor = InferInput("input", [2, 3], "FP64")
        tensor.set_data_from_numpy(np.array([[10, 1, 1], [0, 0, 0]], np.float64), binary_data=binary)
        request = InferRequest("toy", [tensor], request_id="r1")
        answer = await client.infer(base, request, model_name="toy")
        found[f"rows {binary}"] = answer.outputs[0].as_numpy().tolist()
    sys.stdout.write(json.dumps(found))


asyncio.run(main(sys.argv[1]))
