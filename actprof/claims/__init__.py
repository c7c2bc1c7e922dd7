"""What a scenario claims of its cells, held against results.

A claim is an entry of `expect:`: somebody's words, and cells. Each quantity in it is an expectation.
"""
