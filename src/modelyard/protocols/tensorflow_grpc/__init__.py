"""TensorFlow Serving over gRPC (``tensorflow.serving.PredictionService`` and ``ModelService``), without TensorFlow."""
