"""Evidence on its way from the classes down to the pixels."""
