"""Plain data and errors that every layer shares; imports nothing of Modelyard but itself."""
