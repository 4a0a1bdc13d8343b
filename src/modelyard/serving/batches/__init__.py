"""Files of calls that are answered later: uploaded, worked off by jobs, and told in files of answers."""
