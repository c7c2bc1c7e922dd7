"""Who holds the memory at one moment of a run, by kind, module, op and tensor, and why."""
