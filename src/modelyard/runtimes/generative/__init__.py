"""What every runtime of language models shares: the engine, its memory of attention, sampling, grammars and text."""
