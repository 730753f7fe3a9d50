"""Results that earlier code wrote, and that today's code opens."""
