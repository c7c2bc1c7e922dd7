"""`python -m actprof`."""

from actprof.cli import main

main()
