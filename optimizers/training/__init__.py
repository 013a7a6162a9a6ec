"""The trainers on TRL: rows, rollouts, callbacks, processes."""
