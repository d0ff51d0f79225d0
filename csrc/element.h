/* Activations and losses: entries of their tables, for the library and for the library of a user-defined one. */
#ifndef FASTOPT_ELEMENT_H
#define FASTOPT_ELEMENT_H

#include "rule.h"

/* a = f(z) over n elements, where z may be a unless the activation keeps its input; d *= f'; the loss of a row of n outputs. */
#define ELEMENT_FUNCTIONS(REAL, suffix)                                                                                \
    typedef void (*activate_function_##suffix)(size_t, const REAL *, REAL *restrict);                                  \
    typedef void (*derive_function_##suffix)(size_t, const REAL *restrict, const REAL *restrict, REAL, REAL *restrict); \
    typedef double (*loss_function_##suffix)(size_t, const REAL *, const REAL *, int64_t, double, REAL *, int64_t *);

ELEMENT_FUNCTIONS(float, f32)
ELEMENT_FUNCTIONS(double, f64)

/* An activation's functions for each vector width, narrowest first; the slopes to the left and to the right of zero. */
struct fastopt_activation {
    const char *name;
    double left, right;
    int keeps_input;
    activate_function_f32 activate_f32[MOST_LEVELS];
    derive_function_f32 derive_f32[MOST_LEVELS];
    activate_function_f64 activate_f64[MOST_LEVELS];
    derive_function_f64 derive_f64[MOST_LEVELS];
};

enum targets { OF_LABELS, OF_PROBABILITIES, OF_VALUES };

struct fastopt_loss {
    const char *name;
    enum targets targets;
    loss_function_f32 lose_f32[MOST_LEVELS];
    loss_function_f64 lose_f64[MOST_LEVELS];
};

#define ACTIVATION_ENTRY(name, left, right, keeps_input)                                                               \
    {#name, left, right, keeps_input, EACH_LEVEL(activate_##name, f32), EACH_LEVEL(derive_##name, f32),                \
     EACH_LEVEL(activate_##name, f64), EACH_LEVEL(derive_##name, f64)}
#define LOSS_ENTRY(name, targets) {#name, targets, EACH_LEVEL(lose_##name, f32), EACH_LEVEL(lose_##name, f64)}

#endif
