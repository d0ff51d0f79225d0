/* The public functions: which rule, which vector width, which threads. The loops themselves are in pass.inc. */
#include "fastopt.h"

#include <math.h>
#include <string.h>

#include "flush.h"

#ifdef _OPENMP
#include <omp.h>
#endif

/* The first coefficients of every pass; the rule's own follow. */
enum { GRAD_SCALE, CLIP_VALUE, WEIGHT_DECAY, DECAY_FACTOR, PASS_COEFFICIENTS };

enum { BLOCK = 2048, LANES = 64, CHUNK = 16384, PARALLEL_FROM = 32768 };

struct kernel_f32 {
    const char *name;
    int states, coefficients;
    void (*update)(size_t, float *restrict, float *restrict, float *const *, const float *, int);
};

struct kernel_f64 {
    const char *name;
    int states, coefficients;
    void (*update)(size_t, double *restrict, double *restrict, double *const *, const double *, int);
};

#define LEVEL portable
#define TARGET
#include "level.inc"

/* Chosen by function pointers when the program runs, since one binary serves every processor of the architecture. Without an
 * instruction for it, fmaf is a call: exact, and slow. */
#if defined(__x86_64__) && defined(__GNUC__)
#define WIDE_X86 1

#define LEVEL avx2
#define TARGET __attribute__((target("avx2,fma")))
#include "level.inc"

#define LEVEL avx512
#ifdef __clang__
#define TARGET __attribute__((target("avx512f,avx512dq,avx512vl,avx2,fma")))
#else
#define TARGET __attribute__((target("avx512f,avx512dq,avx512vl,avx2,fma,prefer-vector-width=512")))
#endif
#include "level.inc"
#endif

#define LEVEL_ENTRY(level)                                                                                             \
    {#level, level##_f32_kernels, level##_f64_kernels, level##_f32_sum_of_squares, level##_f64_sum_of_squares}

static const struct level {
    const char *name;
    const struct kernel_f32 *kernels_f32;
    const struct kernel_f64 *kernels_f64;
    double (*sum_of_squares_f32)(size_t, const float *restrict);
    double (*sum_of_squares_f64)(size_t, const double *restrict);
} LEVELS[] = {
    LEVEL_ENTRY(portable),
#ifdef WIDE_X86
    LEVEL_ENTRY(avx2),
    LEVEL_ENTRY(avx512),
#endif
};

enum { RULES = sizeof portable_f32_kernels / sizeof *portable_f32_kernels };

/* A handle is an entry of the narrowest table: all tables list the same rules in the same order. */
static int index_of(const fastopt_rule *rule)
{
    const struct kernel_f32 *entry = (const struct kernel_f32 *)rule;
    return entry ? (int)(entry - portable_f32_kernels) : -1;
}

int fastopt_rule_count(void) { return RULES; }

const fastopt_rule *fastopt_rule_at(int index)
{
    return index >= 0 && index < RULES ? (const fastopt_rule *)&portable_f32_kernels[index] : NULL;
}

const fastopt_rule *fastopt_find_rule(const char *name)
{
    for (int i = 0; i < RULES; ++i)
        if (strcmp(portable_f32_kernels[i].name, name) == 0)
            return fastopt_rule_at(i);
    return NULL;
}

const char *fastopt_rule_name(const fastopt_rule *rule) { return portable_f32_kernels[index_of(rule)].name; }

int fastopt_rule_states(const fastopt_rule *rule) { return portable_f32_kernels[index_of(rule)].states; }

int fastopt_rule_coefficients(const fastopt_rule *rule)
{
    return PASS_COEFFICIENTS + portable_f32_kernels[index_of(rule)].coefficients;
}

int fastopt_level_count(void)
{
#ifdef WIDE_X86
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return 3;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return 2;
#endif
    return 1;
}

const char *fastopt_level_name(int level)
{
    return level >= 0 && level < fastopt_level_count() ? LEVELS[level].name : NULL;
}

int fastopt_has_threads(void)
{
#ifdef _OPENMP
    return 1;
#else
    return 0;
#endif
}

size_t fastopt_workspace_size(size_t n) { return (n + CHUNK - 1) / CHUNK; }

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

#define REAL float
#define SUFFIX(name) name##_f32
#include "threads.inc"
#undef REAL
#undef SUFFIX

#define REAL double
#define SUFFIX(name) name##_f64
#include "threads.inc"
