"""The sixteenth batch, written without sight of any rule or earlier batch, and held out until it had been measured."""
