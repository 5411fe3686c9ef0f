"""Tasks: what a plant has to do, as random scenarios and a cost of weighted residuals.

| module         | holds                                                              |
|----------------|--------------------------------------------------------------------|
| `cost`         | `Cost`: residuals with weights, their Jacobians and Hessians       |
| `scenario`     | `Scenario`: start states, targets, noise and cost of all trials    |
| `disturbances` | `Disturbances`: noise, pushes and varying parameters               |
| `weights`      | weights of the cost, one number or one by component               |
| `generators`   | `GENERATORS`: start states and goals that many plants share        |
| `options`      | `TaskOptions`: numbers that a user replaces; checks of TASKS       |
| `task`         | `Task`: a plant's task with the user's options; draws scenarios    |
| `returning`    | `out_and_back`: a task continued by the way back                   |
"""
