"""Reading and trying CI templates before they are pushed: one folder for each system's language."""
