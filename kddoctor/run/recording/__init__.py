"""The parts of the recorder; needs torch. The way in is kddoctor.run.recorder."""
