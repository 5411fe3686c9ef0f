"""Figures and movies of a run; the only package that imports matplotlib.

- `plots`: learning curves, paths, controls, speeds, hidden activity and its tuning
- `movies`: movements of a controller, or its paths while it learns
- `benchmarks`: paths of trained and classical controllers next to each other
- `scenes`: the frames of a movie; `movie_files`: gif, mp4 and html
- `coordinates`: what of a rollout is drawn, and in which order
- `drawing`: paths with goals, traces against time, bodies
- `output`: the style of all figures, files and windows
"""
