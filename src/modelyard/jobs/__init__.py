"""Long work: a persistent queue, a scheduler, and child processes that talk to it through files only."""
