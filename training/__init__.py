import eot_core  # noqa: F401 - before onnxruntime is imported, whose telemetry it switches off
