"""Search over the fields of a recipe: trials in processes of their own, a journal that survives them, and the winner trained as usual."""
