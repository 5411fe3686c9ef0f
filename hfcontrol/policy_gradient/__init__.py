"""PPO, A2C and REINFORCE: training from costs alone, without derivatives of the plant.

- `options`: `PolicyGradient`, the options of all methods
- `trajectories`: what a policy recorded while it explored
- `policy`: Gaussian and categorical policies, their densities and derivatives
- `objectives`: advantages and the losses of policy and critic
- `state`: the state of training, and the data of its updates
- `learner`: a network, a policy and a critic, and their updates
- `workers`: copies of an environment whose episodes go on from rollout to rollout
- `samplers`: recording of trajectories on a plant or in a Gymnasium environment
- `trainer`: training as a stream of events
"""
