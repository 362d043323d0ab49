"""The command line: one module for each noun; parses, calls one verb, prints."""
