"""One file for each code: how people make that mistake."""
