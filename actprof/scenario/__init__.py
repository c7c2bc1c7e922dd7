"""What to run: scenario files, read with pydantic and PyYAML, and the cells that they stand for."""
