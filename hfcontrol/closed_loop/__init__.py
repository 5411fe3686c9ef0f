"""Plant and network as one dynamical system: rollout, linearisation and their passes."""
