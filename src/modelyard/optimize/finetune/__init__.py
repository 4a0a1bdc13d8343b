"""Learns the weights of an ONNX graph anew, from the answers of the version that it was made of and from right ones."""
