"""Language models: from text to a decoder that the product's engines load, and adapters of what is there."""
