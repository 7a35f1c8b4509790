"""The tenth batch, written from the catalogue without sight of any rule, and held out until it had been measured."""
