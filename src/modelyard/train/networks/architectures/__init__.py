"""Networks, by what they are good for."""
