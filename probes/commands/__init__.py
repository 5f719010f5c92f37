"""One file a command; each registers itself with the application when it is imported."""
