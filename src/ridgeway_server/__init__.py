"""The scoring server: what runs inside every image. It knows nothing of the rest of the product.

Read it from the inside out: ``packages`` (a model as a folder), ``signature`` and ``models`` (checked rows in,
predictions out), ``protocols`` (bytes to rows, predictions to bytes), ``repository`` (which model answers), ``routes``
(which path means what), ``heads``, ``chunks`` and ``connection`` (HTTP/1.1), ``worker`` (one process), ``supervisor``
(all of them). It needs numpy, orjson, uvloop and httptools; onnxruntime or scikit-learn with skops only for models of
those kinds.
"""

__version__ = "0.1.0"
