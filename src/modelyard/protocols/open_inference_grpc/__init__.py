"""The Open Inference Protocol v2 over gRPC (``inference.GRPCInferenceService``), as Triton's clients speak it."""
