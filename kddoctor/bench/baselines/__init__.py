"""Other judges of the same runs: trained on examples, reading logs only, or kddoctor without some of its parts."""
