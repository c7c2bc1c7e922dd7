"""The accuracy ledger: rows of predicted and measured runs, and what they say together."""
