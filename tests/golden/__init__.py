"""What fixed commands give, held against what they gave when it was recorded."""
