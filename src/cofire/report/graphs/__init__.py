"""The report's part on the activation pattern graph: which neurons fire together."""
