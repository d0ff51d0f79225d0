/* What a pass and its table entry are made of: for the library, and for the library of a user-defined rule. */
#ifndef FASTOPT_RULE_H
#define FASTOPT_RULE_H

#include "fastopt.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "generated/constants.inc"

enum { MOST_LEVELS = 3 };

enum { BLOCK = 2048 };

/* A pass fetches what it needs so many bytes later, a group of elements at a time: each page of each stream is new to the
 * processor's own prefetching, and the square roots leave it no room to wait. */
enum { PASS_AHEAD = 2048, GROUP = 64, LINE = 64 };
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

#define REAL float
#define SUFFIX(name) name##_f32
#include "structs.inc"
#undef REAL
#undef SUFFIX

#define REAL double
#define SUFFIX(name) name##_f64
#include "structs.inc"
#undef REAL
#undef SUFFIX

/* A rule's pass for each vector width, narrowest first. */
struct fastopt_rule {
    const char *name;
    int states, numbers, sums;
    pass_function_f32 passes_f32[MOST_LEVELS];
    pass_function_f64 passes_f64[MOST_LEVELS];
};

#endif
