"""The report's part on boosting: whether reading its neurons improves a classifier, and what patterns add."""
