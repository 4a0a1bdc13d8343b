"""The protocol of Hugging Face's text-embeddings-inference: ``/embed``, ``/rerank``, ``/predict``, ``/tokenize`` and their like."""
