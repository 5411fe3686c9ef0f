"""Pages about runs, and cards of objects in notebooks; the only user of jinja2.

- `report`: what `hfcontrol report` writes
- `cards`: what a notebook shows of a run, a plant or an evaluation
- `pictures`: figures and movies as images inside HTML
- `pages`: templates, and the policy of a page
"""
