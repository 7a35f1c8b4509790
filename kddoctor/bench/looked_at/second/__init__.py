"""The second batch: an implementation of each code that was held out until it had been measured."""
