"""Models through onnxruntime: one thread, no telemetry, one tensor of numbers or one tensor per column."""

from __future__ import annotations

from typing import Any

import numpy as np

from ridgeway_server.answers import Answer
from ridgeway_server.errors import PackageError
from ridgeway_server.packages import Package
from ridgeway_server.signature import Table


class OnnxForm:
    """A network in ``model.onnx``; the manifest's form says ``dtype`` and ``inputs`` (matrix or columns)."""

    def __init__(self, package: Package) -> None:
        import onnxruntime  # type: ignore[import-untyped,unused-ignore]

        form = package.manifest["form"]
        if "model.onnx" not in package.files:
            raise PackageError(f"{package.folder}: no file 'model.onnx'")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            package.files["model.onnx"], options, providers=["CPUExecutionProvider"]
        )
        self.dtype = np.dtype(form["dtype"])
        self.by_column = form["inputs"] == "columns"
        self.signature = package.signature
        self.inputs = [node.name for node in self.session.get_inputs()]
        self.task: str = package.manifest["task"]
        self.outputs = [node.name for node in self.session.get_outputs()]

    def __call__(self, table: Table) -> Answer:
        """Values, or labels and probabilities, of all rows."""
        outputs = self.session.run(self.outputs, self._feed(table))
        if self.task == "regression":
            return Answer(np.asarray(outputs[0], np.float64).reshape(-1))
        probabilities = np.asarray(outputs[-1], np.float64)
        return Answer(labels=probabilities.argmax(axis=1), probabilities=probabilities)

    def _feed(self, table: Table) -> dict[str, Any]:
        if not self.by_column:
            assert table.matrix is not None
            return {self.inputs[0]: table.matrix.astype(self.dtype, copy=False)}
        columns = table.columns if table.matrix is None else list(table.matrix.T)
        return {
            name: (values if column.type == "string" else values.astype(self.dtype)).reshape(-1, 1)
            for name, values, column in zip(self.inputs, columns, self.signature.columns, strict=True)
        }
