/* What a pass and its table entry are made of: for the library, and for the library of a user-defined rule. */
#ifndef FASTOPT_RULE_H
#define FASTOPT_RULE_H

#include "fastopt.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "generated/constants.inc"

enum { MOST_LEVELS = 3, STORAGES = 5 };

enum { BLOCK = 2048 };

/* A pass fetches what it needs so many bytes later, a group of elements at a time: each page of each stream is new to the
 * processor's own prefetching, and the square roots leave it no room to wait. */
enum { PASS_AHEAD = 2048, GROUP = 64, LINE = 64, ROWS = 4 };
#define PREFETCH(address) __builtin_prefetch(address)

/* Vector widths: each is chosen by function pointers when the program runs, since one binary serves every processor of the
 * architecture. Without an instruction for it, fmaf is a call: exact, and slow. */
#define TARGET_portable
#if defined(__x86_64__) && defined(__GNUC__)
#define WIDE_X86 1
#define TARGET_avx2 __attribute__((target("avx2,fma")))
#ifdef __clang__
#define TARGET_avx512 __attribute__((target("avx512f,avx512dq,avx512vl,avx2,fma")))
#else
#define TARGET_avx512 __attribute__((target("avx512f,avx512dq,avx512vl,avx2,fma,prefer-vector-width=512")))
#endif
#endif

/* Random bits are made of words that are mixed from the key of a step and the salt of a buffer; see bfloat16.inc. */
static inline uint32_t mixed(uint32_t x)
{
    x = (x ^ x >> 16) * MIX_FIRST;
    x = (x ^ x >> 15) * MIX_SECOND;
    return x ^ x >> 16;
}

/* A pass over n elements of p, g and states, over a chunk at most where it has sums. With salts, stores are rounded at random;
 * `position` is that of the first element. */
typedef void (*pass_function)(size_t n, void *p, void *g, void *const *states, const void *numbers, const uint32_t *salts,
                              size_t position, int zero_grad, double *sums);

/* A rule's passes for each storage of its buffers and each vector width, narrowest first. */
struct fastopt_rule {
    const char *name;
    int states, numbers, sums;
    pass_function passes[STORAGES][MOST_LEVELS];
};

#define ALL_PASSES(name)                                                                                               \
    {EACH_LEVEL(name, f32), EACH_LEVEL(name, f64), EACH_LEVEL(name##_bfloat16_states, f32),                            \
     EACH_LEVEL(name##_bfloat16_parameters, f32), EACH_LEVEL(name##_bfloat16, f32)}
#define RULE(name, states, numbers, sums) {#name, states, numbers, sums, ALL_PASSES(name)},

#endif
