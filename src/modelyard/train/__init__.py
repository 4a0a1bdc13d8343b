"""Training: a recipe and a table become one ONNX graph with its evaluation. Runs inside a job's process only."""
