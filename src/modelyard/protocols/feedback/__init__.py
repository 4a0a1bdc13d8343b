"""What users report of answers."""
