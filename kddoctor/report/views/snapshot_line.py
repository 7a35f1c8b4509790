"""The line of the recorder that fills the views over several moments of a training."""

NEEDS = "call run.snapshot(epoch=epoch) once an epoch in the loop (snapshots/<split>.safetensors)"
