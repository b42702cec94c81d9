"""Steps on ONNX graphs: each takes an artifact and a frozen config and returns a new artifact.

Importing this package needs the ``export`` extra.
"""
