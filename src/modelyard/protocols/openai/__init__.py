"""The OpenAI API: models, chat completions, completions, embeddings and responses. Its "model" is a deployment."""
