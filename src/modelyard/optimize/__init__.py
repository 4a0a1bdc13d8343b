"""Makes versions smaller and faster, and measures whether they still are what they were."""
