"""The methods that explain."""
