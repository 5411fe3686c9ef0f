"""PPO and A2C on the same networks."""
