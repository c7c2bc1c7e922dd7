"""What somebody expects of cells, in the grammar of `expect:`, held against results."""
