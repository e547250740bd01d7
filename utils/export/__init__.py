"""A SegFace as an ONNX file."""
