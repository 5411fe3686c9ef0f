"""The claims of the sources: what `tools/claims` runs, judges and draws.

| module     | holds                                                                |
|------------|----------------------------------------------------------------------|
| `measure`  | `Measured`: commands run for several seeds, and what came out        |
| `probes`   | measurements that no command of hfcontrol makes                      |
| `post`     | `CLAIMS`: the claims of the blog post, their commands and verdicts   |
| `figures`  | the figures of the blog post, from our trainings                     |
"""
