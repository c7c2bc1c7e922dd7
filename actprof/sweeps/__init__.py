"""The grid of a scenario, answered cell by cell and kept in a store."""
