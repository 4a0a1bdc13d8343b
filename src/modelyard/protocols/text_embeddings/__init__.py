"""The protocol of Hugging Face's text-embeddings-inference: ``/embed``, ``/similarity``, ``/rerank`` and ``/predict``."""
