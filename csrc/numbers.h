/* What functions may call that compute the numbers of rules, in double. A multiply-add is rounded twice, as Python does where
 * steps are taken one at a time. */
#ifndef FASTOPT_NUMBERS_H
#define FASTOPT_NUMBERS_H

#include "fastopt.h"

#include <math.h>

struct numbers {
    const char *name;
    fastopt_numbers compute;
};

static inline double numbers_clip(double x, double low, double high)
{
    x = x < low ? low : x;
    return x > high ? high : x;
}

#define REAL double
#define INLINE static inline
#define NAMED(name) numbers_##name
#define FMA(a, b, c) ((a) * (b) + (c))
#define SQRT sqrt
#define ABS fabs
#define CLIP numbers_clip
#define SIGN(x) ((x) > 0 ? 1.0 : (x) < 0 ? -1.0 : (x))

#endif
