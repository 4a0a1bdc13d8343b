"""Open Inference Protocol v2 over HTTP, with Triton's extensions that its clients use."""
