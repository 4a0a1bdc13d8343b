"""The composition root: which parts make up a controller and a worker, and the tables that lower layers are handed."""
