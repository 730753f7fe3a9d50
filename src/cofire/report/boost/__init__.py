"""The report's part on boosting: whether activation patterns improve the classifier they come from."""
