"""Engine `onnx`: exported models of any framework, run by ONNX Runtime."""
