"""The adapter to open_clip: loading, encoding, folding, exporting. The only imports of open_clip."""
