"""Training: holds, the trainer and its state, curriculum and guidance.

Modules, in the order of their imports:

settings    the settings of training
holds       what stays fixed during the updates made on one rollout
state       `TrainingState`, `Limits`, `Stop`, `Event`
stop        `StopToken`: stopping a training from outside
trainer     `Trainer`: a generator of events
guidance    good trajectories to follow
curriculum  growing horizons, guidance and races, before training proper
"""
