"""The door from a fitted estimator to the folder that the scoring server loads: the simplest form that is exact.

``compile_model`` tries closed form, trees as arrays, ONNX and skops in this order, and takes the first whose
predictions equal the estimator's on held-out rows and on generated extreme ones. ``cells`` and ``closed`` take
estimators apart, ``forest`` does trees, ``converted`` the two library forms, ``parity`` makes rows and compares.
"""

from ridgeway.compiled.compile import FORMS, compile_model

__all__ = ["FORMS", "compile_model"]
