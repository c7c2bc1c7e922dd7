"""Work in processes of its own: one that may die of it, many at once, none that outlives us."""
