"""One Altair chart for each view, by the view's name."""
