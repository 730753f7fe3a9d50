"""Turn activation patterns into a better classifier, and say honestly whether they helped."""
