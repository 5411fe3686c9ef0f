"""The parts of a controller's C source, with places to fill in (c_source.py)."""

from string import Template

# Activation functions of the summed input a, by name.
ACTIVATIONS = {
    "tanh": "TANH(a)",
    "logistic": "R(0.5) * (1 + TANH(R(0.5) * a))",
    "linear": "a",
}

HEADER = Template("""\
/* $title

   Written by hfcontrol $version from the run $run. \
One call of ${name}_step every $milliseconds ms.
   target: $n_target numbers; observation: $observes; control: $controls.
   The delays, noise and pushes it was trained with belong \
to the plant that it meets. */

#include <math.h>

#ifdef HFCONTROL_FLOAT
typedef float ${name}_real;
#define R(number) ((float)(number))
#define TANH tanhf
#define FABS fabsf
#define EXP expf
#define LOG1P log1pf
#else
typedef double ${name}_real;
#define R(number) (number)
#define TANH tanh
#define FABS fabs
#define EXP exp
#define LOG1P log1p
#endif
typedef ${name}_real real;

enum { N_TARGET = $n_target, N_OBSERVATION = $n_observation, \
N_CONTROL = $n_control, N_ROWS = $n_rows };

typedef struct { real rows[N_ROWS]; } ${name}_state;

void ${name}_reset(${name}_state *state);
/* Returns 0, or 1 if a number is not finite: then the last command is held. */
int ${name}_step(${name}_state *state, \
const real *target, const real *observation, real *control);
""")

# For networks that have a time.
STEP_AFTER_HEADER = Template("""\
/* The same for a step of `elapsed` seconds, and 1 too if these are not above 0. */
int ${name}_step_after(${name}_state *state, real elapsed, \
const real *target, const real *observation, real *control);
""")

STEP = Template("""
int ${name}_step(${name}_state *state, \
const real *target, const real *observation, real *control) {
    return ${name}_step_after(state, $dt, target, observation, control);
}
""")

FUNCTIONS = Template("""
static real limited(int i, real c) {
    const real z = (c - centre[i]) / width[i];
    if (!(width[i] < HUGE_VAL)) return c;
    if (side[i] == 0) return centre[i] + width[i] * TANH(z);
    const real distance = side[i] * z;
    const real softplus = (distance > 0 ? distance : 0) + LOG1P(EXP(-FABS(z)));
    return centre[i] + side[i] * width[i] * softplus;
}

void ${name}_reset(${name}_state *state) {
    for (int i = 0; i < N_ROWS; i++) state->rows[i] = start[i];
}

int ${name}_${step}(${name}_state *state, \
${elapsed}const real *target, const real *observation, real *control) {
    real now[N_ROWS];
$length$before    for (int i = 0; i < N_TARGET; i++) now[i] = target[i];
    for (int i = 0; i < N_OBSERVATION; i++) now[N_TARGET + i] = observation[i];
$layers    int is_finite = $is_valid;
    for (int i = 0; i < N_ROWS; i++) if (!isfinite(now[i])) is_finite = 0;
    for (int i = 0; i < N_ROWS && is_finite; i++) state->rows[i] = now[i];
    for (int i = 0; i < N_CONTROL; i++) {
        control[i] = limited(i, state->rows[$outputs + i]);
    }
    return !is_finite;
}
""")

CELL_FUNCTION = Template("""
static void cell$k(int i, const real *x, const real *f, real h, real *y) {
$unused$results}
""")

GATHER = Template("""\
        for (int i = 0; i < $count; i++) {
            const real a = $activations[$first + i];
            X[$column + i] = $output;
        }
""")

# A layer without stages: W X + b and its activation.
PLAIN_LAYER = Template("""\
    {
        real X[$columns];
$gather        for (int i = 0; i < $units; i++) {
            real a = W$k[i * $stride + $columns];
            for (int j = 0; j < $columns; j++) a += W$k[i * $stride + j] * X[j];
            now[$first + i] = $activation;
        }
    }
""")

# A layer of cells with a state, solved in stages (network/stages.py). A unit has
# $states states x and $sums activities f.
STAGED_LAYER = Template("""\
    {
        real X[$columns], x[$n_states], y[$n_states], f[$n_sums];
$gather        for (int i = 0; i < $n_states; i++) x[i] = $state[$state_first + i];
        for (int step = 0; step < $unfold; step++) {
$stages        }
        for (int i = 0; i < $n_states; i++) now[$first + i] = x[i];
    }
""")

INSERT_STATE = Template("""\
            for (int i = 0; i < $units; i++) {
                const real a = x[i];
                X[$state_column + i] = $output;
            }
""")

# One of the sums of a unit.
MATRIX_ACTIVITY = Template("""\
            for (int i = 0; i < $units; i++) {
                const real *row = W$k + ($sum * $units + i) * $stride;
                real a = row[$columns];
                for (int j = 0; j < $columns; j++) a += row[j] * X[j];
                f[$sum * $units + i] = $activation;
            }
""")

# A sum with matrices that the length of the step multiplies: row number $timed of T$k.
TIMED_ACTIVITY = Template("""\
            for (int i = 0; i < $units; i++) {
                const real *row = W$k + ($sum * $units + i) * $stride;
                const real *timed = T$k + ($timed * $units + i) * $stride;
                real a = row[$columns] + length * timed[$columns];
                for (int j = 0; j < $columns; j++) {
                    a += (row[j] + length * timed[j]) * X[j];
                }
                f[$sum * $units + i] = $activation;
            }
""")

# The four matrices of synapses: weight, slope, centre and reversal.
SYNAPSE_ACTIVITY = Template("""\
            for (int i = 0; i < $units; i++) {
                f[i] = f[$units + i] = 0;
                for (int j = 0; j < $columns; j++) {
                    const int at = i * $columns + j;
                    const real s = R(0.5) * (1 + TANH(R(0.5) * \
W$k[$slopes + at] * (X[j] - W$k[$centres + at])));
                    f[i] += W$k[at] * W$k[$reversals + at] * s;
                    f[$units + i] += W$k[at] * s;
                }
            }
""")

FUSED_STAGE = Template("""\
            for (int i = 0; i < $units; i++) cell$k(i, x, f, $h, y);
            for (int i = 0; i < $n_states; i++) x[i] = y[i];
""")

EULER_STAGE = Template("""\
            for (int i = 0; i < $units; i++) cell$k(i, x, f, $h, y);
            for (int i = 0; i < $n_states; i++) x[i] += $h * y[i];
""")

RK4_START = Template("""\
            real first[$n_states], total[$n_states];
            for (int i = 0; i < $n_states; i++) first[i] = total[i] = x[i];
""")

RK4_STAGE = Template("""\
            for (int i = 0; i < $units; i++) cell$k(i, x, f, $h, y);
            for (int i = 0; i < $n_states; i++) {
                total[i] += $h * R($weight) * y[i];
                $move
            }
""")
