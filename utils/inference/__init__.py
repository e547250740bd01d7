"""From pictures to label maps: reading, crops of faces, models of PyTorch or ONNX, and what is written."""
