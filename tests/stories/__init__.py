"""What a user adds in one file of their own, and where it is seen then."""
