"""What `import hfcontrol as hf` offers."""
