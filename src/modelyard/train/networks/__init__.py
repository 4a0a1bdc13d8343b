"""Networks trained with PyTorch: data to tensors, architectures, the loop, checkpoints and the way to ONNX. Needs the extra ``torch``."""
