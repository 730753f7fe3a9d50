"""The site: what its pages are made of besides `docs/`."""
