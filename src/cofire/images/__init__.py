"""Images: image files, what is done to them before a network sees them, their classes and boxes."""
